// Where a network's attention layers read the prompt's tokens.
#pragma once

#include <glint/core/enum_names.hpp>

#include <array>
#include <string_view>

namespace glint {

enum class TextTokens {
  Unknown,
  Cross,  ///< in layers of their own, as the keys
  First,  ///< among queries and keys, before the image tokens
  Last    ///< among queries and keys, behind the image tokens
};
template <>
struct EnumNames<TextTokens> {
  static constexpr std::array<std::string_view, 4> values{"unknown", "cross", "first", "last"};
};

}  // namespace glint
