// Repairs text that was decoded, escaped or typeset by mistake.
#pragma once

#include <string>
#include <string_view>

namespace glint::detail {

/// Returns the text with mojibake decoded, HTML references, ligatures, fullwidth forms and curly quotes
/// replaced, terminal escapes and control characters removed, composed (NFC). Line by line; the first line
/// with a "<" is the first whose references are kept.
/// Source:  ftfy 6.3.1, fix_text.
std::u32string repaired(std::u32string_view text);

}  // namespace glint::detail
