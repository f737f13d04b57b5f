// The files a run leaves: their names checked before it, written after it.
#pragma once

#include <glint/core/tensor.hpp>
#include <glint/image/png.hpp>
#include <glint/image/video.hpp>

#include <optional>
#include <string>
#include <vector>

namespace glint::cli {

/// Where things go. Empty: nowhere.
struct OutputFiles {
  std::string pictures;  ///< a PNG; of videos a WebP, a PNG name with %04d in it, or a folder
  std::string sheet, latents, trajectory;
  int64_t enlarge = 1;
  std::optional<double> frames_per_second = {};  ///< of videos
};

/// Returns the rate that videos are written with.
double frames_per_second(const OutputFiles& files);

/// What a run made, in the order of its prompts.
struct Pictures {
  std::vector<Image> images;    ///< either these
  std::vector<Video> videos;    ///< or these
  std::vector<PngTexts> texts;  ///< of each
};

/// Fails now rather than after minutes of sampling. `frames` is the length of the videos, 0 of pictures;
/// `count` how many of either there will be.
void check_outputs(const OutputFiles& files, int64_t frames, int64_t count);

/// Writes the pictures or videos and the sheet, and returns their paths.
std::vector<std::string> write_pictures(const OutputFiles& files, Pictures pictures);

}  // namespace glint::cli
