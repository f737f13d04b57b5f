// A run's output files: names and sizes checked before the run, each picture written as soon as it is made.
#pragma once

#include <glint/image/png.hpp>
#include <glint/image/video.hpp>

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace glint::cli {

/// Output paths; empty = not written.
struct OutputFiles {
  /// A PNG or WebP; for videos a WebP, a PNG name with %04d, or a folder; `-` or `png:-`, `webp:-` for
  /// standard output.
  std::string pictures;
  std::string sheet, latents, trajectory;
  int64_t enlarge = 1;
  std::optional<double> frames_per_second = {};  ///< videos only
};

/// Returns the frame rate to write videos with.
double frames_per_second(const OutputFiles& files);

/// Returns the path to write for one that the user gave: standard output is where the program keeps it.
std::string real_path(const std::string& given);

/// Whether one of the files goes to standard output, which is then no place for text.
bool to_standard_output(const OutputFiles& files);

/// Throws now rather than after minutes of sampling. `frames` is the videos' length, 0 for images; `count` is
/// the number of images or videos.
void check_outputs(const OutputFiles& files, int64_t frames, int64_t count);

/// Same for what is known only with the model: the size of a picture, px, before it is enlarged.
void check_sizes(const OutputFiles& files, int64_t frames, int64_t count, int64_t width, int64_t height);

/// Writes pictures one by one, and remembers what there is.
class PictureWriter {
 public:
  PictureWriter(const OutputFiles& files, size_t count) : files_(files), count_(count) {}

  /// Writes picture `index` of `count`.
  void write(size_t index, const Image& image, const PngTexts& texts);
  void write(size_t index, Video video, const PngTexts& texts);

  /// Writes the contact sheet, if there is to be one.
  void write_sheet(std::span<const Image> images, std::span<const Video> videos);

  /// Returns the files written so far.
  const std::vector<std::string>& paths() const { return paths_; }

 private:
  Image enlarged(const Image& image) const;

  const OutputFiles& files_;
  size_t count_;
  std::vector<std::string> paths_;
};

}  // namespace glint::cli
