// JSON documents from outside, parsed strictly, with messages that name the place.
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <string_view>

namespace glint::detail {

/// Returns the parsed document.
/// Errors:  BadModel beginning with `where` if the text is not JSON, not UTF-8, nested deeper than 64 levels,
///          or has an object with one key twice.
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// Returns the parsed content of a file.   Errors: NotFound, and as parse_json.
nlohmann::json parse_json_file(const std::filesystem::path& path);

/// Returns what a value is, for messages: `string "4"`, `number 1.5`, `object`. Long strings are cut.
std::string describe(const nlohmann::json& value);

}  // namespace glint::detail
