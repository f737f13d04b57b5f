#include <glint/core/error.hpp>
#include <glint/image/image_file.hpp>
#include <glint/image/webp.hpp>

#include <fmt/ranges.h>

#include <array>

namespace glint {
namespace {

void write_still_webp(const std::filesystem::path& path, const Image& image, const PngTexts& texts) {
  write_webp(path, {.frames = {image}}, {}, texts);
}

/// An image format. To add one, write its file and add a row here.
struct Format {
  std::string_view extension;
  void (*write)(const std::filesystem::path&, const Image&, const PngTexts&);
};
constexpr std::array kFormats{Format{".png", write_png}, Format{".webp", write_still_webp}};

}  // namespace

std::vector<std::string_view> image_extensions() {
  std::vector<std::string_view> names;
  for (const Format& format : kFormats) names.push_back(format.extension);
  return names;
}

void write_image(const std::filesystem::path& path, const Image& image, const PngTexts& texts) {
  const std::string extension = path.extension().string();
  if (extension.empty()) return kFormats.front().write(path, image, texts);
  for (const Format& format : kFormats)
    if (format.extension == extension) return format.write(path, image, texts);
  fail(ErrorCode::InvalidArgument, "{}: expected a name that ends in {}, got '{}'", path.string(),
       joined_text(image_extensions(), " or "), extension);
}

}  // namespace glint
