// HTML's character references in a text.
#pragma once

#include <string>
#include <string_view>

namespace glint::detail {

/// Returns the text with its references replaced as a browser would: names that need no semicolon too.
/// Source:  html.unescape of Python.
std::u32string unescaped(std::u32string_view text);

/// Returns the text with only those references replaced that end with a semicolon; names in capitals count as
/// well if that is no other name.
/// Source:  ftfy.fixes.unescape_html.
std::u32string unescaped_whole(std::u32string_view text);

}  // namespace glint::detail
