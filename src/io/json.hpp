// Strict parsing of JSON from outside, with errors that name the location.
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <string_view>

namespace glint::detail {

/// Parses a document.
/// Errors:  BadModel, starting with `where`, if the text is not JSON, not UTF-8, nested deeper than 64
///          levels, or has duplicate keys.
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// Parses a file.   Errors: NotFound, and as parse_json.
nlohmann::json parse_json_file(const std::filesystem::path& path);

/// Describes a value for messages: `string "4"`, `number 1.5`, `object`. Long strings are truncated.
std::string describe(const nlohmann::json& value);

/// Returns the first place where `found` differs from `wanted`, as "its options.steps is 4, this run's is 5";
/// empty if they are equal.
std::string first_difference(const nlohmann::json& found, const nlohmann::json& wanted);

}  // namespace glint::detail
