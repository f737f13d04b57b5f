// Is this text UTF-8? Asked of every string that enters from outside.
#pragma once

#include <glint/export.hpp>

#include <cstddef>
#include <optional>
#include <string_view>

namespace glint {

/// Returns the offset of the first byte that is not part of well-formed UTF-8, or nothing if all of it is.
/// Source:  The Unicode Standard 15.0, table 3-7 (no surrogates, no overlong forms, nothing above U+10FFFF).
GLINT_API std::optional<size_t> invalid_utf8_offset(std::string_view text);

}  // namespace glint
