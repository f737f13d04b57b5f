// What tokenizers ask of Unicode: code points and back, composition, case, classes. Tables are utf8proc's.
#pragma once

#include <string>
#include <string_view>

namespace glint::detail {

/// Returns the code points of valid UTF-8, and the other way round.
std::u32string code_points(std::string_view utf8);
std::string to_utf8(std::u32string_view points);

/// Returns `points` in normalization form C.
std::u32string composed(std::u32string_view points);

/// Returns `points` in lower case, each by itself: a final sigma is like any other.
std::u32string lower_case(std::u32string_view points);

bool is_letter(char32_t point);  ///< general category L*
bool is_number(char32_t point);  ///< general category N*
bool is_space(char32_t point);   ///< property White_Space

}  // namespace glint::detail
