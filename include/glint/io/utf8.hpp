// UTF-8 from outside: validation, and text that is safe to show on a terminal.
#pragma once

#include <glint/export.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace glint {

/// Returns the offset of the first byte that is not well-formed UTF-8, or nullopt if there is none.
/// Source:  The Unicode Standard 15.0, table 3-7 (no surrogates, no overlong forms, nothing above U+10FFFF).
GLINT_API std::optional<size_t> invalid_utf8_offset(std::string_view text);

/// Returns `text` as it can be shown: bytes that are not UTF-8 and control characters as `\x1b`, characters
/// that change the direction or order of the text as `\u202e`. Line feeds stay.
GLINT_API std::string printable(std::string_view text);

/// Same for JSON text, which stays the same JSON: as `\u001b`.
GLINT_API std::string printable_json(std::string_view json);

/// Returns the number of terminal columns that printable text takes: 2 for wide characters, 0 for combining
/// ones.
GLINT_API size_t columns_of(std::string_view text);

/// Returns printable text cut between characters to at most `columns`, the last three of them dots if
/// anything is cut.
GLINT_API std::string shortened(std::string_view text, size_t columns);

}  // namespace glint
