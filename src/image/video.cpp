#include <glint/core/error.hpp>
#include <glint/image/video.hpp>

#include <fmt/format.h>

#include <optional>

namespace glint {
namespace {

/// Where a file name has its frame number: name[start, end) is a %d, %Nd or %0Nd.
struct Place {
  size_t start, end, width;
  bool zeros;
};

std::optional<Place> place_of(const std::string& name) {
  const size_t start = name.find('%');
  if (start == std::string::npos) return std::nullopt;
  Place place{.start = start, .end = start + 1, .width = 0, .zeros = false};
  const auto at = [&] { return place.end < name.size() ? name[place.end] : '\0'; };
  if (at() == '0') {
    place.zeros = true;
    ++place.end;
  }
  if (at() >= '1' && at() <= '9') place.width = static_cast<size_t>(name[place.end++] - '0');
  const bool number = at() == 'd' && (!place.zeros || place.width > 0);
  ++place.end;
  GLINT_CHECK(number && name.find('%', place.end) == std::string::npos, InvalidArgument,
              "{}: expected one number such as %04d in the name", name);
  return place;
}

}  // namespace

bool numbers_frames(const std::filesystem::path& pattern) {
  return place_of(pattern.filename().string()).has_value();
}

std::filesystem::path frame_path(const std::filesystem::path& pattern, size_t index) {
  const std::string name = pattern.filename().string();
  const auto place = place_of(name);
  GLINT_CHECK(place, InvalidArgument, "{}: expected a number such as %04d in the name", pattern.string());
  const std::string digits = std::to_string(index + 1);
  const std::string padding(place->width > digits.size() ? place->width - digits.size() : 0,
                            place->zeros ? '0' : ' ');
  return pattern.parent_path() / (name.substr(0, place->start) + padding + digits + name.substr(place->end));
}

std::vector<std::filesystem::path> write_frames(const std::filesystem::path& pattern, const Video& video,
                                                const PngTexts& texts) {
  GLINT_CHECK(!video.frames.empty(), InvalidArgument, "video: expected at least one frame, got none");
  std::vector<std::filesystem::path> paths;
  for (const Image& frame : video.frames) {
    paths.push_back(frame_path(pattern, paths.size()));
    write_png(paths.back(), frame, texts);
  }
  return paths;
}

}  // namespace glint
