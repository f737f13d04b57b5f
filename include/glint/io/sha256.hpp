// SHA-256 of files and bytes, with which a bundle verifies its files before trusting them.
#pragma once

#include <glint/export.hpp>

#include <filesystem>
#include <string>
#include <string_view>

namespace glint {

/// Returns the SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
GLINT_API std::string sha256(std::string_view bytes);

/// Returns the SHA-256 of a file's content, read in chunks.
/// Errors:  NotFound if there is no such file; InvalidArgument if it is no regular file; Io if it cannot be
///          read.
GLINT_API std::string sha256_file(const std::filesystem::path& path);

}  // namespace glint
