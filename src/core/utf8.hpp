// Where characters end in UTF-8; everything else about text is in io/utf8.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace glint::detail {

/// Returns the number of bytes of the character that a text begins with, 0 if it begins with none.
/// Source:  The Unicode Standard 15.0, table 3-7 (no surrogates, no overlong forms, nothing above U+10FFFF).
inline size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  const auto between = [&](size_t i, int low, int high) { return byte(i) >= low && byte(i) <= high; };
  const auto follows = [&](size_t i) { return between(i, 0x80, 0xBF); };
  const int first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (between(0, 0xC2, 0xDF)) return follows(1) ? 2 : 0;
  const bool second = between(1,
                              first == 0xE0   ? 0xA0
                              : first == 0xF0 ? 0x90
                                              : 0x80,
                              first == 0xED   ? 0x9F
                              : first == 0xF4 ? 0x8F
                                              : 0xBF);
  if (between(0, 0xE0, 0xEF)) return second && follows(2) ? 3 : 0;
  if (between(0, 0xF0, 0xF4)) return second && follows(2) && follows(3) ? 4 : 0;
  return 0;
}

/// Returns the text with `\xff` for each byte that is not UTF-8.
inline std::string valid_utf8(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string valid;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const auto byte = static_cast<unsigned char>(text[0]);
    if (length > 0)
      valid += text.substr(0, length);
    else
      valid += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    text.remove_prefix(std::max(length, size_t{1}));
  }
  return valid;
}

}  // namespace glint::detail
