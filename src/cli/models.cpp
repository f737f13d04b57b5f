#include "cli/cli.hpp"

#include <glint/core/error.hpp>
#include <glint/core/nearest.hpp>
#include <glint/version.hpp>

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

namespace glint::cli {

namespace fs = std::filesystem;

std::vector<fs::path> model_folders() {
  std::vector<fs::path> folders;
  if (const char* named = std::getenv("GLINT_MODELS")) folders.emplace_back(named);
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  if (!program.empty()) {
    folders.push_back(program / "../share/glint/models");  // installed
    folders.push_back(program / "../../models");           // in the build tree
  }
  return folders;
}

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const fs::path& folder : model_folders()) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored))
      if (fs::exists(entry.path() / "model.json", ignored)) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

fs::path find_model(const std::string& name_or_path) {
  std::error_code ignored;
  // Names take precedence: something in the working directory must not shadow a known model.
  for (const fs::path& folder : model_folders())
    if (!fs::path(name_or_path).is_absolute() && fs::exists(folder / name_or_path / "model.json", ignored))
      return fs::weakly_canonical(folder / name_or_path);
  if (fs::exists(name_or_path, ignored)) return name_or_path;
  const std::vector<std::string> known = model_names();
  fail(ErrorCode::NotFound, "model: neither a folder nor a known model: '{}'{} (known: {})", name_or_path,
       did_you_mean(name_or_path, known),
       known.empty() ? "none" : fmt::format("{}", joined_text(known, ", ")));
}

void warn(const std::string& message) { spdlog::warn("{}", message); }

nlohmann::ordered_json versions() { return {{"glint", version()}, {"torch", torch_version()}}; }

}  // namespace glint::cli
