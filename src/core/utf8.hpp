// How long characters are in UTF-8; everything else about text is in io/utf8.
#pragma once

#include <cstddef>
#include <string_view>

namespace glint::detail {

/// Returns the number of bytes of the character that a text begins with, 0 if it begins with none.
/// Source:  The Unicode Standard 15.0, table 3-7 (no surrogates, no overlong forms, nothing above U+10FFFF).
size_t utf8_length(std::string_view text);

}  // namespace glint::detail
