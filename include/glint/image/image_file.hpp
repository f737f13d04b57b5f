// Writes images in the format given by the file's extension.
#pragma once

#include <glint/export.hpp>
#include <glint/image/png.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// Returns the extensions write_image supports, default first: .png, .webp.
GLINT_API std::vector<std::string_view> image_extensions();

/// Writes an image in the format of the path's extension, in upper or lower case, with that format's
/// defaults. Paths without one, such as /dev/stdout, get PNG.
/// Errors:  InvalidArgument, naming the supported extensions, for any other; as the format's own writer.
GLINT_API void write_image(const std::filesystem::path& path, const Image& image, const PngTexts& texts = {});

/// Returns the extension of a path in lower case, as compared by write_image.
GLINT_API std::string image_extension(const std::filesystem::path& path);

/// Throws what write_image would throw for an image of this size.
/// Errors:  InvalidArgument for too many pixels or too long a side.
GLINT_API void check_image_size(const std::filesystem::path& path, int64_t width, int64_t height);

/// Returns the texts stored with the pictures of a PNG or WebP file.
/// Errors:  NotFound; InvalidArgument, naming the path, if it is neither.
GLINT_API PngTexts read_texts(const std::filesystem::path& path);

}  // namespace glint
