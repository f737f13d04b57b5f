#include "core/utf8.hpp"

#include <glint/core/error.hpp>
#include <glint/core/message.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace glint {
namespace {

template <typename T>
void append_integer(std::string& text, T value) {
  std::array<char, 24> buffer;
  text.append(buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr);
}

/// Appends the shortest digits that give `value` back, as 0.0001 to 9999999999999999 or else with an
/// exponent.
template <typename T>
void append_real(std::string& text, T value) {
  std::array<char, 64> buffer;
  char* const begin = buffer.data();
  char* const limit = begin + buffer.size();
  char* end = std::to_chars(begin, limit, value, std::chars_format::scientific).ptr;
  if (std::isfinite(value)) {
    const std::string_view digits(begin, static_cast<size_t>(end - begin));
    const size_t mark = digits.find('e');
    int exponent = 0;
    std::from_chars(begin + mark + (digits[mark + 1] == '+' ? 2 : 1), end, exponent);
    if (exponent >= -4 && exponent < 16)
      end = std::to_chars(begin, limit, value, std::chars_format::fixed).ptr;
  }
  text.append(begin, end);
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

size_t detail::utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  const auto between = [&](size_t i, int low, int high) { return byte(i) >= low && byte(i) <= high; };
  const auto follows = [&](size_t i) { return between(i, 0x80, 0xBF); };
  const int first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (between(0, 0xC2, 0xDF)) return follows(1) ? 2 : 0;
  if (between(0, 0xE0, 0xEF))
    return between(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF) && follows(2) ? 3 : 0;
  if (between(0, 0xF0, 0xF4))
    return between(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF) && follows(2) && follows(3)
               ? 4
               : 0;
  return 0;
}

void detail::throw_error(ErrorCode code, std::string_view format,
                         std::initializer_list<MessageArgument> arguments) {
  const std::string text = filled(format, arguments);
  std::string valid;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t length = utf8_length(rest);
    if (length > 0) {
      valid += rest.substr(0, length);
    } else {
      constexpr std::string_view kDigits = "0123456789abcdef";
      const auto byte = static_cast<unsigned char>(rest[0]);
      valid += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
    rest.remove_prefix(std::max<size_t>(length, 1));
  }
  throw Error(code, valid);
}

}  // namespace glint
