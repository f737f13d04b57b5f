// Writes images in the format given by the file's extension.
#pragma once

#include <glint/export.hpp>
#include <glint/image/png.hpp>

#include <filesystem>
#include <string_view>
#include <vector>

namespace glint {

/// Returns the extensions write_image supports, default first: .png, .webp.
GLINT_API std::vector<std::string_view> image_extensions();

/// Writes an image in the format of the path's extension, with that format's defaults. Paths without one,
/// such as /dev/stdout, get PNG.
/// Errors:  InvalidArgument, naming the supported extensions, for any other; as the format's own writer.
GLINT_API void write_image(const std::filesystem::path& path, const Image& image, const PngTexts& texts = {});

}  // namespace glint
