#include "io/file.hpp"

#include <glint/core/error.hpp>
#include <glint/image/image_file.hpp>
#include <glint/image/webp.hpp>

#include <fmt/format.h>

#include <array>

namespace glint {
namespace {

void write_still_webp(const std::filesystem::path& path, const Image& image, const PngTexts& texts) {
  write_webp(path, {.frames = {image}}, {}, texts);
}

constexpr int64_t kPngPixels = int64_t{1} << 26, kLongestWebpSide = 16383;

/// An image format. To add one, write its file and add a row here.
struct Format {
  std::string_view extension;
  void (*write)(const std::filesystem::path&, const Image&, const PngTexts&);
  int64_t longest_side = kPngPixels, most_pixels = kPngPixels;  ///< px, pixels
};
constexpr std::array kFormats{Format{".png", write_png},
                              Format{".webp", write_still_webp, kLongestWebpSide, int64_t{1} << 28}};

/// Returns the format of a path; the first one for a path without an extension.
const Format& format_of(const std::filesystem::path& path) {
  const std::string extension = image_extension(path);
  if (extension.empty()) return kFormats.front();
  for (const Format& format : kFormats)
    if (format.extension == extension) return format;
  fail(ErrorCode::InvalidArgument, "{}: expected a name that ends in {}, got '{}'", path.string(),
       joined_text(image_extensions(), " or "), extension);
}

}  // namespace

std::vector<std::string_view> image_extensions() {
  std::vector<std::string_view> names;
  for (const Format& format : kFormats) names.push_back(format.extension);
  return names;
}

void write_image(const std::filesystem::path& path, const Image& image, const PngTexts& texts) {
  format_of(path).write(path, image, texts);
}

std::string image_extension(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return extension;
}

void check_image_size(const std::filesystem::path& path, int64_t width, int64_t height) {
  const Format& format = format_of(path);
  GLINT_CHECK(width > 0 && height > 0 && width <= format.longest_side && height <= format.longest_side &&
                  width <= format.most_pixels / height,
              InvalidArgument, "{}: {} x {} px are too many; a {} file has at most {}", path.string(), width,
              height, format.extension,
              format.longest_side < format.most_pixels ? fmt::format("{} px a side", format.longest_side)
                                                       : fmt::format("{} pixels", format.most_pixels));
}

PngTexts read_texts(const std::filesystem::path& path) {
  const detail::FileBytes file(path);
  const std::span<const uint8_t> bytes{reinterpret_cast<const uint8_t*>(file.bytes().data()),
                                       file.bytes().size()};
  if (file.text().starts_with("RIFF")) return webp_texts(bytes);
  PngTexts texts;
  decode_png(bytes, &texts, path.string());
  return texts;
}

}  // namespace glint
