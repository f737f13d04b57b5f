// A run's output files: names checked before the run, contents written after it.
#pragma once

#include <glint/core/tensor.hpp>
#include <glint/image/png.hpp>
#include <glint/image/video.hpp>
#include <glint/text/tokenizer.hpp>

#include <optional>
#include <string>
#include <vector>

namespace glint::cli {

/// Output paths; empty = not written.
struct OutputFiles {
  std::string pictures;  ///< a PNG; for videos a WebP, a PNG name with %04d, or a folder
  std::string sheet, latents, trajectory;
  int64_t enlarge = 1;
  std::optional<double> frames_per_second = {};  ///< videos only
};

/// Returns the frame rate to write videos with.
double frames_per_second(const OutputFiles& files);

/// A run's output, in prompt order; either images or videos.
struct Pictures {
  std::vector<Image> images;
  std::vector<Video> videos;
  std::vector<PngTexts> texts;  ///< one per image or video
};

/// Warns about words that the model does not know, or that had no place.
void report_words(const std::vector<TokenizedPrompt>& prompts);

/// Throws now rather than after minutes of sampling. `frames` is the videos' length, 0 for images; `count` is
/// the number of images or videos.
void check_outputs(const OutputFiles& files, int64_t frames, int64_t count);

/// Writes the images or videos and the contact sheet, and returns their paths.
std::vector<std::string> write_pictures(const OutputFiles& files, Pictures pictures);

}  // namespace glint::cli
