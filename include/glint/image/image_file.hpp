// Pictures to files, in the format a file's name asks for.
#pragma once

#include <glint/export.hpp>
#include <glint/image/png.hpp>

#include <filesystem>
#include <string_view>
#include <vector>

namespace glint {

/// Returns the extensions write_image knows, the default first: .png, .webp.
GLINT_API std::vector<std::string_view> image_extensions();

/// Writes a picture in the format of its extension, with that format's defaults; PNG if it has none, as
/// /dev/stdout.
/// Errors:  InvalidArgument naming the known extensions for another one; as the format's own writer.
GLINT_API void write_image(const std::filesystem::path& path, const Image& image, const PngTexts& texts = {});

}  // namespace glint
