// Unicode for tokenizers: code points, composition, case and character classes, from utf8proc's tables.
#pragma once

#include <string>
#include <string_view>

namespace glint::detail {

/// Converts valid UTF-8 to code points, and back.
std::u32string code_points(std::string_view utf8);
std::string to_utf8(std::u32string_view points);

/// Returns `points` in normalization form C.
std::u32string composed(std::u32string_view points);

/// Returns `points` in lower case, each on its own, so a final sigma is not special.
std::u32string lower_case(std::u32string_view points);

/// Returns `points` in upper case, each on its own and to one letter.
std::u32string upper_case(std::u32string_view points);

bool is_letter(char32_t point);   ///< general category L*
bool is_number(char32_t point);   ///< general category N*
bool is_space(char32_t point);    ///< property White_Space
bool is_joining(char32_t point);  ///< a combining mark, or a character that joins its neighbours
bool is_symbol(char32_t point);   ///< a symbol, also one that Unicode 15 does not know: S*, Co, Cn

}  // namespace glint::detail
