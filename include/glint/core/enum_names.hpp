// Enumerator names, defined once per enumeration and shared by files, options, messages and documentation.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <type_traits>

namespace glint {

/// Specialise with `static constexpr std::array<std::string_view, N> values`: the names in enumerator order.
/// Enumerators must be numbered consecutively from 0.
template <typename E>
struct EnumNames;

template <typename E>
concept NamedEnum = std::is_enum_v<E> && requires {
  EnumNames<E>::values;
};

template <NamedEnum E>
constexpr std::string_view enum_name(E value) {
  return EnumNames<E>::values[static_cast<size_t>(value)];
}

/// Returns the enumerator called `name`, or nullopt.
template <NamedEnum E>
constexpr std::optional<E> enum_value(std::string_view name) {
  for (size_t i = 0; i < EnumNames<E>::values.size(); ++i)
    if (EnumNames<E>::values[i] == name) return static_cast<E>(i);
  return std::nullopt;
}

}  // namespace glint
