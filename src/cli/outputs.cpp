#include "cli/outputs.hpp"

#include "cli/terminal.hpp"

#include <glint/core/error.hpp>
#include <glint/image/image_file.hpp>
#include <glint/image/webp.hpp>
#include <glint/io/output_file.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>

namespace glint::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFrameNames = "frame_%04d.png";
constexpr int64_t kSheetGap = 4;  // px

/// How to store a video.
enum class Form { Animation, Frames, Folder, Still };

bool ends_with_separator(const std::string& path) { return path.ends_with('/'); }

/// Whether a path leads to a pipe, a device or an open file, which takes one picture.
bool is_stream(const std::string& path) {
  std::error_code ignored;
  if (path.empty() || ends_with_separator(path) || fs::is_directory(path, ignored)) return false;
  try {
    return output_target(path).stream;
  } catch (const Error&) {
    return false;  // said when it is checked
  }
}

Form form_of(const std::string& path, int64_t frames) {
  const std::string extension = image_extension(path);
  std::error_code ignored;
  if (fs::is_directory(path, ignored) || ends_with_separator(path)) return Form::Folder;
  if (extension == ".webp" || is_stream(path)) {
    const std::string name = fs::path(path).filename().string();
    GLINT_CHECK(name.find("%0") == std::string::npos && name.find("%d") == std::string::npos, InvalidArgument,
                "{}: an animation is one file; numbered frames are .png files", path);
    return Form::Animation;
  }
  if (extension == ".png" && numbers_frames(path)) return Form::Frames;
  if (extension == ".png" && frames == 1) return Form::Still;
  GLINT_CHECK(extension.empty() && !numbers_frames(path), InvalidArgument,
              "{}: expected a .webp file for a video of {} frames, a .png name with %04d in it, or a folder",
              path, frames);
  return Form::Folder;
}

/// Inserts -1, -2, ... before the extension if there are several images.
fs::path numbered(fs::path path, size_t index, size_t count) {
  if (count == 1) return path;
  if (!path.has_filename()) path = path.parent_path();  // a folder path with a trailing slash
  return path.parent_path() /
         fmt::format("{}-{}{}", path.stem().string(), index + 1, path.extension().string());
}

std::string normal(const fs::path& path) { return fs::absolute(path).lexically_normal().string(); }

/// Whether `path` is the name of one of `count` numbered images.
bool is_numbered_picture(const fs::path& path, const std::string& pictures, int64_t count) {
  const std::string stem = path.stem().string();
  const size_t dash = stem.rfind('-');
  if (pictures.empty() || count == 1 || dash == std::string::npos) return false;
  int64_t number = 0;
  std::from_chars(stem.data() + dash + 1, stem.data() + stem.size(), number);
  if (number < 1 || number > count) return false;
  return normal(path) ==
         normal(numbered(pictures, static_cast<size_t>(number - 1), static_cast<size_t>(count)));
}

/// The names of `count` numbered files, as many as a user can mean.
std::vector<fs::path> all_numbered(const std::string& path, int64_t count) {
  constexpr int64_t kChecked = 4096;
  std::vector<fs::path> all;
  for (int64_t i = 0; i < std::min(count, kChecked); ++i)
    all.push_back(numbered(path, static_cast<size_t>(i), static_cast<size_t>(count)));
  return all;
}

void check_file(const std::string& path, const std::vector<std::string_view>& extensions) {
  if (path.empty()) return;
  check_writable(path);
  const std::string extension = image_extension(path);
  const bool known = std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
  GLINT_CHECK(known || extension.empty() || is_stream(path), InvalidArgument, "{}: expected a {} file", path,
              joined_text(extensions, " or "));
}

/// Refuses to mix a video with the longer one that was written to the same names before.
void check_no_later_frames(const fs::path& pattern, int64_t frames) {
  const std::string name = pattern.filename().string();
  const size_t start = name.find('%');
  const std::string before = name.substr(0, start), after = name.substr(name.find('d', start) + 1);
  const fs::path folder = pattern.has_parent_path() ? pattern.parent_path() : fs::path(".");
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string file = entry.path().filename().string();
    if (file.size() <= before.size() + after.size() || !file.starts_with(before) || !file.ends_with(after))
      continue;
    int64_t number = 0;
    const char* end = file.data() + file.size() - after.size();
    const char* digits = std::find_if(file.data() + before.size(), end, [](char c) { return c != ' '; });
    const auto parsed = std::from_chars(digits, end, number);
    const bool is_frame = parsed.ec == std::errc() && parsed.ptr == end && number > 0 &&
                          frame_path(pattern, static_cast<size_t>(number - 1)).filename() == file;
    GLINT_CHECK(!is_frame || number <= frames, InvalidArgument,
                "{}: holds frame {} of another video, this one has {}; give another name, or remove it",
                entry.path().string(), number, frames);
  }
}

void check_folder(const std::string& path, const fs::path& folder) {
  std::error_code ignored;
  GLINT_CHECK(fs::is_directory(folder, ignored), NotFound, "{}: cannot be written: there is no folder {}",
              path, folder.string());
  GLINT_CHECK(access(folder.c_str(), W_OK | X_OK) == 0, InvalidArgument, "{}: cannot be written", path);
}

void check_video(const std::string& path, int64_t frames, int64_t count) {
  if (path.empty()) return;
  constexpr int64_t kFew = 16;  // videos whose every frame is looked at
  std::error_code ignored;
  const Form form = form_of(path, frames);
  if (form != Form::Folder) {
    for (const fs::path& file : all_numbered(path, count)) {
      if (form != Form::Frames) {
        check_writable(file);
        continue;
      }
      for (int64_t k = 0; k < frames && count <= kFew; ++k)
        check_writable(frame_path(file, static_cast<size_t>(k)));
      check_no_later_frames(file, frames);
    }
    return;
  }
  const fs::path folder = (fs::absolute(path) / "").parent_path();
  GLINT_CHECK(!fs::exists(folder, ignored) || fs::is_directory(folder, ignored), InvalidArgument,
              "{}: expected a folder, got a file", path);
  check_folder(path, fs::exists(folder, ignored) ? folder : folder.parent_path());
  for (const fs::path& each : all_numbered(path, count)) check_no_later_frames(each / kFrameNames, frames);
}

std::vector<fs::path> write_video(const fs::path& path, Form form, const Video& video,
                                  const PngTexts& texts) {
  switch (form) {
    case Form::Animation: write_webp(path, video, {}, texts); return {path};
    case Form::Still: write_png(path, video.frames.front(), texts); return {path};
    case Form::Frames: return write_frames(path, video, texts);
    case Form::Folder: break;
  }
  std::error_code error;
  fs::create_directory(path, error);
  GLINT_CHECK(!error, Io, "{}: cannot be written: {}", path.string(), error.message());
  return write_frames(path / kFrameNames, video, texts);
}

void check_standard_output(const std::string& path) {
  if (path.empty() || real_path(path) == path) return;
  GLINT_CHECK(standard_output() >= 0, InvalidArgument, "{}: standard output is closed", path);
  GLINT_CHECK(isatty(standard_output()) != 1, InvalidArgument,
              "{}: standard output is a terminal; send it to a file or a program", path);
}

/// The columns and rows of a sheet, as contact_sheet and PictureWriter lay it out.
std::pair<int64_t, int64_t> sheet_cells(int64_t frames, int64_t count) {
  if (frames > 0 && count > 1) return {frames, count};
  const int64_t cells = std::max<int64_t>(frames, 1) * count;
  const auto columns = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(cells))));
  return {columns, (cells + columns - 1) / columns};
}

}  // namespace

double frames_per_second(const OutputFiles& files) {
  return files.frames_per_second.value_or(Video{}.frames_per_second);
}

std::string real_path(const std::string& given) {
  const bool standard = given == "-" || given == "png:-" || given == "webp:-";
  if (standard || (is_stream(given) && output_target(given).descriptor == STDOUT_FILENO))
    return fmt::format("/proc/self/fd/{}", standard_output());
  return given;
}

bool to_standard_output(const OutputFiles& files) {
  const std::array paths{&files.pictures, &files.sheet, &files.latents, &files.trajectory};
  return std::any_of(paths.begin(), paths.end(), [](const std::string* p) { return real_path(*p) != *p; });
}

void check_outputs(const OutputFiles& files, int64_t frames, int64_t count) {
  for (const std::string* path : {&files.pictures, &files.sheet, &files.latents, &files.trajectory})
    check_standard_output(*path);
  const std::string pictures = real_path(files.pictures);
  GLINT_CHECK(count == 1 || !is_stream(pictures), InvalidArgument,
              "{}: not a regular file, so it takes one picture; expected a name that can be numbered for {}",
              files.pictures, count);
  if (frames > 0) {
    GLINT_CHECK(files.pictures != "png:-" || frames == 1, InvalidArgument,
                "png:-: standard output takes one picture, the video has {}", frames);
    check_video(pictures, frames, count);
  } else {
    check_file(pictures, image_extensions());
    if (count > 1 && !pictures.empty())
      for (const fs::path& path : all_numbered(pictures, count)) check_writable(path);
  }
  GLINT_CHECK(frames > 0 || !files.frames_per_second, InvalidArgument,
              "fps: the model makes pictures, not videos");
  if (files.frames_per_second)
    GLINT_CHECK(is_frame_rate(*files.frames_per_second), InvalidArgument, "fps: expected {} to {}, got {}",
                kSlowestRate, kFastestRate, *files.frames_per_second);
  check_file(real_path(files.sheet), image_extensions());
  for (const std::string* path : {&files.latents, &files.trajectory})
    check_file(real_path(*path), {".safetensors"});
  std::vector<std::string> names;
  for (const std::string* path : {&files.pictures, &files.sheet, &files.latents, &files.trajectory}) {
    if (path->empty()) continue;
    names.push_back(normal(real_path(*path)));
    if (path != &files.pictures && is_numbered_picture(*path, files.pictures, count))
      names.push_back(names.back());
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  GLINT_CHECK(twice == names.end(), InvalidArgument, "{}: given for two outputs", *twice);
}

void check_sizes(const OutputFiles& files, int64_t frames, int64_t count, int64_t width, int64_t height) {
  constexpr int64_t kMostPixels = int64_t{1} << 28;  // of `enlarge`
  GLINT_CHECK(width * height <= kMostPixels / (files.enlarge * files.enlarge), InvalidArgument,
              "enlarge: {} times {} x {} px are more than {} pixels", files.enlarge, width, height,
              kMostPixels);
  const int64_t wide = width * files.enlarge, high = height * files.enlarge;
  if (!files.pictures.empty()) {
    const std::string path = real_path(files.pictures);
    const bool animation = frames > 0 ? form_of(path, frames) == Form::Animation && files.pictures != "png:-"
                                      : files.pictures == "webp:-";
    const bool frame_files = frames > 0 && !animation;
    check_image_size(animation ? "an animation.webp" : frame_files ? "a frame.png" : path, wide, high);
  }
  if (files.sheet.empty()) return;
  const auto [columns, rows] = sheet_cells(frames, count);
  GLINT_CHECK(columns <= kMostPixels && rows <= kMostPixels, InvalidArgument, "{}: {} pictures are too many",
              files.sheet, count);
  check_image_size(real_path(files.sheet), columns * (wide + kSheetGap) - kSheetGap,
                   rows * (high + kSheetGap) - kSheetGap);
}

Image PictureWriter::enlarged(const Image& image) const {
  return files_.enlarge > 1 ? enlarge(image, files_.enlarge) : image;
}

void PictureWriter::write(size_t index, const Image& image, const PngTexts& texts) {
  if (files_.pictures.empty()) return;
  const fs::path path = numbered(real_path(files_.pictures), index, count_);
  if (files_.pictures == "webp:-")
    write_webp(path, {.frames = {enlarged(image)}}, {}, texts);
  else
    write_image(path, enlarged(image), texts);
  paths_.push_back(real_path(files_.pictures) == files_.pictures ? path.string() : files_.pictures);
}

void PictureWriter::write(size_t index, Video video, const PngTexts& texts) {
  if (files_.pictures.empty()) return;
  for (Image& frame : video.frames) frame = enlarged(frame);
  video.frames_per_second = frames_per_second(files_);
  const std::string real = real_path(files_.pictures);
  const Form form =
      files_.pictures == "png:-" ? Form::Still : form_of(real, static_cast<int64_t>(video.frames.size()));
  for (const fs::path& path : write_video(numbered(real, index, count_), form, video, texts))
    paths_.push_back(real == files_.pictures ? path.string() : files_.pictures);
}

void PictureWriter::write_sheet(std::span<const Image> images, std::span<const Video> videos) {
  if (files_.sheet.empty()) return;
  SheetOptions sheet{.gap = kSheetGap};
  std::vector<Image> cells;
  for (const Image& image : images) cells.push_back(enlarged(image));
  for (const Video& video : videos) {
    // As square as possible for one video, one row per video for several.
    if (videos.size() > 1) sheet.columns = static_cast<int64_t>(video.frames.size());
    for (const Image& frame : video.frames) cells.push_back(enlarged(frame));
  }
  if (cells.empty()) return;
  write_image(real_path(files_.sheet), contact_sheet(cells, sheet));
  paths_.push_back(files_.sheet);
}

}  // namespace glint::cli
