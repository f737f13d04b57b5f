// Reads and writes PNG files, with texts such as the prompt and seed behind an image.
#pragma once

#include <glint/export.hpp>
#include <glint/image/image.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace glint {

/// UTF-8 texts of a PNG by keyword. Keywords are 1 to 79 bytes of printable ASCII, e.g. "prompt", "seed".
using PngTexts = std::map<std::string, std::string>;

/// Writes an 8-bit RGB file atomically. Texts are stored as iTXt chunks.
/// Errors:  as check_writable; InvalidArgument if the image is empty, exceeds 2^26 pixels or a text cannot be
///          stored; Io if writing fails.
GLINT_API void write_png(const std::filesystem::path& path, const Image& image, const PngTexts& texts = {});

/// Reads a file as 8-bit RGB; transparent pixels are composited on white.
/// Errors:  NotFound; InvalidArgument, naming the path, if it is not a PNG file, is corrupt, or exceeds 2^26
///          pixels.
GLINT_API Image read_png(const std::filesystem::path& path, PngTexts* texts = nullptr);

/// In-memory versions of the two above. Error messages start with `where`.
GLINT_API std::vector<uint8_t> encode_png(const Image& image, const PngTexts& texts = {});
GLINT_API Image decode_png(std::span<const uint8_t> bytes, PngTexts* texts = nullptr,
                           const std::string& where = "png");

}  // namespace glint
