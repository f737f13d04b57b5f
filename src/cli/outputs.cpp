#include "cli/outputs.hpp"

#include <glint/core/error.hpp>
#include <glint/image/image_file.hpp>
#include <glint/image/webp.hpp>

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

namespace glint::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFrameNames = "frame_%04d.png";

/// How to store a video.
enum class Form { Animation, Frames, Folder, Still };

bool ends_with_separator(const std::string& path) { return path.ends_with('/'); }

Form form_of(const std::string& path, int64_t frames) {
  const fs::path extension = fs::path(path).extension();
  std::error_code ignored;
  if (fs::is_directory(path, ignored) || ends_with_separator(path)) return Form::Folder;
  if (extension == ".webp" || fs::is_other(path, ignored)) {
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

void check_folder(const std::string& path, const fs::path& folder) {
  std::error_code ignored;
  GLINT_CHECK(fs::is_directory(folder, ignored), NotFound, "{}: cannot be written: there is no folder {}",
              path, folder.string());
  GLINT_CHECK(access(folder.c_str(), W_OK) == 0, InvalidArgument, "{}: cannot be written", path);
}

void check_file(const std::string& path, const std::vector<std::string_view>& extensions) {
  if (path.empty()) return;
  std::error_code ignored;
  check_folder(path, fs::absolute(path).parent_path());
  GLINT_CHECK(!fs::is_directory(path, ignored), InvalidArgument, "{}: cannot be written", path);
  const std::string extension = fs::path(path).extension().string();
  const bool known = std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
  GLINT_CHECK(known || extension.empty() || fs::is_other(path, ignored), InvalidArgument,
              "{}: expected a {} file", path, joined_text(extensions, " or "));
}

void check_video(const std::string& path, int64_t frames) {
  if (path.empty()) return;
  std::error_code ignored;
  if (form_of(path, frames) != Form::Folder) return check_folder(path, fs::absolute(path).parent_path());
  const fs::path folder = (fs::absolute(path) / "").parent_path();
  GLINT_CHECK(!fs::exists(folder, ignored) || fs::is_directory(folder, ignored), InvalidArgument,
              "{}: expected a folder, got a file", path);
  check_folder(path, fs::exists(folder, ignored) ? folder : folder.parent_path());
}

void append(std::vector<std::string>& paths, const std::vector<fs::path>& more) {
  for (const fs::path& path : more) paths.push_back(path.string());
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
  GLINT_CHECK(!error, InvalidArgument, "{}: cannot be written: {}", path.string(), error.message());
  return write_frames(path / kFrameNames, video, texts);
}

}  // namespace

double frames_per_second(const OutputFiles& files) {
  return files.frames_per_second.value_or(Video{}.frames_per_second);
}

void check_outputs(const OutputFiles& files, int64_t frames, int64_t count) {
  std::error_code ignored;
  GLINT_CHECK(count == 1 || !fs::is_other(files.pictures, ignored), InvalidArgument,
              "{}: not a regular file, so it takes one picture; expected a name that can be numbered for {}",
              files.pictures, count);
  if (frames > 0)
    check_video(files.pictures, frames);
  else
    check_file(files.pictures, image_extensions());
  GLINT_CHECK(frames > 0 || !files.frames_per_second, InvalidArgument,
              "fps: the model makes pictures, not videos");
  if (files.frames_per_second)
    GLINT_CHECK(is_frame_rate(*files.frames_per_second), InvalidArgument, "fps: expected {} to {}, got {}",
                kSlowestRate, kFastestRate, *files.frames_per_second);
  check_file(files.sheet, image_extensions());
  for (const std::string* path : {&files.latents, &files.trajectory}) check_file(*path, {".safetensors"});
  std::vector<std::string> names;
  for (const std::string* path : {&files.pictures, &files.sheet, &files.latents, &files.trajectory}) {
    if (path->empty()) continue;
    names.push_back(normal(*path));
    if (path != &files.pictures && is_numbered_picture(*path, files.pictures, count))
      names.push_back(names.back());
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  GLINT_CHECK(twice == names.end(), InvalidArgument, "{}: given for two outputs", *twice);
}

std::vector<std::string> write_pictures(const OutputFiles& files, Pictures made) {
  if (files.enlarge > 1) {
    for (Image& image : made.images) image = enlarge(image, files.enlarge);
    for (Video& video : made.videos)
      for (Image& frame : video.frames) frame = enlarge(frame, files.enlarge);
  }
  std::vector<std::string> paths;
  if (!files.pictures.empty()) {
    for (size_t i = 0; i < made.images.size(); ++i) {
      const fs::path path = numbered(files.pictures, i, made.images.size());
      write_image(path, made.images[i], made.texts[i]);
      paths.push_back(path.string());
    }
    for (size_t i = 0; i < made.videos.size(); ++i) {
      Video& video = made.videos[i];
      video.frames_per_second = frames_per_second(files);
      const Form form = form_of(files.pictures, static_cast<int64_t>(video.frames.size()));
      append(paths, write_video(numbered(files.pictures, i, made.videos.size()), form, video, made.texts[i]));
    }
  }
  if (!files.sheet.empty()) {
    SheetOptions sheet{.gap = 4};
    std::vector<Image> cells = std::move(made.images);
    for (Video& video : made.videos) {
      // As square as possible for one video, one row per video for several.
      if (made.videos.size() > 1) sheet.columns = static_cast<int64_t>(video.frames.size());
      std::move(video.frames.begin(), video.frames.end(), std::back_inserter(cells));
    }
    if (!cells.empty()) {
      write_image(files.sheet, contact_sheet(cells, sheet));
      paths.push_back(files.sheet);
    }
  }
  return paths;
}

}  // namespace glint::cli
