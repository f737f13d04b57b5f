// UTF-8 validation, applied to every string from outside.
#pragma once

#include <glint/export.hpp>

#include <cstddef>
#include <optional>
#include <string_view>

namespace glint {

/// Returns the offset of the first byte that is not well-formed UTF-8, or nullopt if there is none.
/// Source:  The Unicode Standard 15.0, table 3-7 (no surrogates, no overlong forms, nothing above U+10FFFF).
GLINT_API std::optional<size_t> invalid_utf8_offset(std::string_view text);

}  // namespace glint
