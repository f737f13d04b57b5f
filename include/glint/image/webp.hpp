// Writes videos as animated WebP, which browsers and image viewers open.
#pragma once

#include <glint/export.hpp>
#include <glint/image/png.hpp>
#include <glint/image/video.hpp>

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace glint {

struct WebpOptions {
  double quality = 90.0;  ///< 0 to 100; lossy, with chroma at half resolution as in most video formats
  bool lossless = false;  ///< keep every byte at several times the size; quality then sets the effort
  int loops = 0;          ///< how often the animation plays; 0 = forever
};

/// Writes an animation atomically; a single frame makes a still image. Frame k starts at round(1000 k /
/// frames_per_second) ms, so that rates that do not divide 1000 do not drift. Every frame is stored, also one
/// that equals the previous. Texts, as for PNG, go into the XMP packet.
/// Errors:  InvalidArgument if there are no frames, frames differ in size or exceed 16383 px a side,
///          frames_per_second is outside kSlowestRate to kFastestRate, quality outside 0 to 100 or loops
///          outside 0 to 65535, a text cannot be stored, or the file cannot be written; NotFound if the
///          folder does not exist.
GLINT_API void write_webp(const std::filesystem::path& path, const Video& video,
                          const WebpOptions& options = {}, const PngTexts& texts = {});

/// Returns the texts that write_webp stored in a file's bytes; none for other files.
GLINT_API PngTexts webp_texts(std::span<const uint8_t> bytes);

/// In-memory version of write_webp.
GLINT_API std::vector<uint8_t> encode_webp(const Video& video, const WebpOptions& options = {},
                                           const PngTexts& texts = {});

}  // namespace glint
