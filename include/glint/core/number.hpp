// Numbers from text, the same in every locale.
#pragma once

#include <glint/export.hpp>

#include <optional>
#include <string_view>

namespace glint {

/// Returns the number that all of the text is, as std::from_chars reads it; nullopt if it is none.
GLINT_API std::optional<double> number_from(std::string_view text);

}  // namespace glint
