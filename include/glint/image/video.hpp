// 8-bit videos, and writing them as one image per frame.
#pragma once

#include <glint/export.hpp>
#include <glint/image/image.hpp>
#include <glint/image/png.hpp>

#include <filesystem>
#include <vector>

namespace glint {

/// The range of frame rates, frames per second. Browsers slow down animations much faster than that.
inline constexpr double kSlowestRate = 0.1, kFastestRate = 60.0;

/// A sequence of frames of one size.
struct Video {
  std::vector<Image> frames = {};
  double frames_per_second = 16.0;  ///< kSlowestRate to kFastestRate; Wan 2.1 was trained at 16

  friend bool operator==(const Video&, const Video&) = default;
};

/// Returns whether this frame rate is in range.
constexpr bool is_frame_rate(double frames_per_second) {
  return frames_per_second >= kSlowestRate && frames_per_second <= kFastestRate;
}

/// Returns whether a file name contains a frame number, as "clip_%04d.png" does.
/// Errors:  InvalidArgument for a '%' that is not part of a single %d, %Nd or %0Nd (N is 1 to 9).
GLINT_API bool numbers_frames(const std::filesystem::path& pattern);

/// Returns the path of frame `index`, counted from 0; the number in its name is index + 1.
/// Errors:  InvalidArgument if the pattern has no frame number.
GLINT_API std::filesystem::path frame_path(const std::filesystem::path& pattern, size_t index);

/// Writes each frame as a PNG, frame 1 first, and returns the paths. Each file is written atomically.
/// Errors:  InvalidArgument as for frame_path, or if there are no frames; as write_png.
GLINT_API std::vector<std::filesystem::path> write_frames(const std::filesystem::path& pattern,
                                                          const Video& video, const PngTexts& texts = {});

}  // namespace glint
