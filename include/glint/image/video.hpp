// Videos as bytes, and as files with one picture per frame.
#pragma once

#include <glint/export.hpp>
#include <glint/image/image.hpp>
#include <glint/image/png.hpp>

#include <filesystem>
#include <vector>

namespace glint {

/// The slowest and the fastest rate a video can have, frames per second. Browsers slow down much faster
/// animations.
inline constexpr double kSlowestRate = 0.1, kFastestRate = 60.0;

/// Pictures of one size, shown one after the other.
struct Video {
  std::vector<Image> frames = {};
  double frames_per_second = 16.0;  ///< kSlowestRate to kFastestRate; 16 is what Wan 2.1 was trained at

  friend bool operator==(const Video&, const Video&) = default;
};

/// Returns whether a video can have this rate.
constexpr bool is_frame_rate(double frames_per_second) {
  return frames_per_second >= kSlowestRate && frames_per_second <= kFastestRate;
}

/// Returns whether a file name numbers frames, as "clip_%04d.png" does.
/// Errors:  InvalidArgument for a '%' that is not part of one %d, %Nd or %0Nd (N is 1 to 9).
GLINT_API bool numbers_frames(const std::filesystem::path& pattern);

/// Returns the file of frame `index`, counted from 0: the number in its name is index + 1.
/// Errors:  InvalidArgument if the pattern does not number frames.
GLINT_API std::filesystem::path frame_path(const std::filesystem::path& pattern, size_t index);

/// Writes each frame as a PNG, frame 1 first, and returns the paths. Each file is written whole or not at
/// all.
/// Errors:  InvalidArgument as frame_path, or if there is no frame; as write_png.
GLINT_API std::vector<std::filesystem::path> write_frames(const std::filesystem::path& pattern,
                                                          const Video& video, const PngTexts& texts = {});

}  // namespace glint
