// Videos as animated WebP files, which browsers and image viewers open.
#pragma once

#include <glint/export.hpp>
#include <glint/image/png.hpp>
#include <glint/image/video.hpp>

#include <cstdint>
#include <filesystem>
#include <vector>

namespace glint {

struct WebpOptions {
  double quality =
      90.0;  ///< 0 to 100, lossy; colours have half the resolution of brightness, as in most video formats
  bool lossless = false;  ///< keep every byte instead, for some times the size; quality is the effort then
  int loops = 0;          ///< how often the animation is played; 0: without end
};

/// Writes an animation, whole or not at all; one frame makes a still picture. Frame k begins at round(1000 k
/// / frames_per_second) ms, so that rates which do not divide 1000 do not drift. A frame equal to the one
/// before it makes that one last longer. Texts, as those of a PNG, go into the file's XMP packet.
/// Errors:  InvalidArgument if there is no frame, frames differ in size or are larger than 16383 px a side,
///          frames_per_second is not kSlowestRate to kFastestRate, quality is not 0 to 100, loops is not 0 to
///          65535, a text cannot be stored, or the file cannot be written; NotFound if the folder does not
///          exist.
GLINT_API void write_webp(const std::filesystem::path& path, const Video& video,
                          const WebpOptions& options = {}, const PngTexts& texts = {});

/// As above, in memory.
GLINT_API std::vector<uint8_t> encode_webp(const Video& video, const WebpOptions& options = {},
                                           const PngTexts& texts = {});

}  // namespace glint
