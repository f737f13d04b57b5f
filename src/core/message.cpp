#include "core/utf8.hpp"

#include <glint/core/error.hpp>
#include <glint/core/message.hpp>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace glint {
namespace {

template <typename T>
void append_integer(std::string& text, T value) {
  std::array<char, 24> buffer;
  text.append(buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr);
}

using Buffer = std::array<char, 64>;

#ifdef __cpp_lib_to_chars
template <typename T>
std::string_view digits_of(T value, bool fixed, Buffer& buffer) {
  const auto format = fixed ? std::chars_format::fixed : std::chars_format::scientific;
  const char* end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr;
  return {buffer.data(), static_cast<size_t>(end - buffer.data())};
}
#else
/// For standard libraries that write only whole numbers: the fewest digits of the C library that come back.
template <typename T>
std::string_view digits_of(T value, bool fixed, Buffer& buffer) {
  const char* format = fixed ? "%.*f" : "%.*e";
  int size = 0;
  for (int precision = 0; precision <= 24; ++precision) {
    size = std::snprintf(buffer.data(), buffer.size(), format, precision, static_cast<double>(value));
    const double back = std::strtod(buffer.data(), nullptr);
    if (!std::isfinite(value) || static_cast<T>(back) == value) break;
  }
  return {buffer.data(), static_cast<size_t>(size)};
}
#endif

/// Appends the shortest digits that give `value` back, as 0.0001 to 9999999999999999 or else with an
/// exponent.
template <typename T>
void append_real(std::string& text, T value) {
  Buffer buffer;
  std::string_view digits = digits_of(value, false, buffer);
  if (std::isfinite(value)) {
    const size_t mark = digits.find('e') + (digits[digits.find('e') + 1] == '+' ? 2 : 1);
    int exponent = 0;
    std::from_chars(digits.data() + mark, digits.data() + digits.size(), exponent);
    if (exponent >= -4 && exponent < 16) digits = digits_of(value, true, buffer);
  }
  text += digits;
}

}  // namespace

void MessageArgument::append_to(std::string& text) const {
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, bool>)
          text += value ? "true" : "false";
        else if constexpr (std::is_same_v<T, char> || std::is_same_v<T, std::string_view>)
          text += value;
        else if constexpr (std::is_floating_point_v<T>)
          append_real(text, value);
        else
          append_integer(text, value);
      },
      value_);
}

std::string detail::filled(std::string_view format, std::initializer_list<MessageArgument> arguments) {
  std::string text;
  for (const MessageArgument& argument : arguments) {
    const size_t place = format.find("{}");
    text += format.substr(0, place);
    argument.append_to(text);
    format.remove_prefix(place + 2);
  }
  return text += format;
}

void detail::throw_error(ErrorCode code, std::string_view format,
                         std::initializer_list<MessageArgument> arguments) {
  throw Error(code, valid_utf8(filled(format, arguments)));
}

}  // namespace glint
