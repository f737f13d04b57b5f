// Text that was encoded as UTF-8 and decoded as something else.
#pragma once

#include <string>
#include <string_view>

namespace glint::detail {

/// Returns the text as it was meant, if its characters show that it was decoded as another encoding; repeated
/// until nothing changes.
/// Source:  ftfy 6.3.1, fix_encoding.
std::u32string without_mojibake(std::u32string_view text);

/// Returns the text with the control characters 0x80 to 0x9F read as Windows-1252.
std::u32string without_c1_controls(std::u32string_view text);

}  // namespace glint::detail
