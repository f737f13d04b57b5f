#include "cli/cli.hpp"

#include <glint/core/error.hpp>
#include <glint/core/nearest.hpp>
#include <glint/version.hpp>

#include <torch/headeronly/version.h>

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
       did_you_mean(name_or_path, known), known.empty() ? "none" : joined_text(known, ", "));
}

void add_model_options(CLI::App& command, ModelArguments& args) {
  command
      .add_option_function<std::string>(
          "--model,-m",
          [&args](const std::string& name) {
            args.name = name;
            args.named = true;
          },
          "folder of a model bundle, or name of a model")
      ->default_str(args.name);
  command.add_option("--device", args.device, "cpu, cuda or cuda:N")->capture_default_str();
  command.add_option("--dtype", args.dtype,
                     "float32, bfloat16 or float16 inside the network; default: the bundle's");
  command
      .add_option_function<std::string>(
          "--pack", [&args](const std::string& text) { args.pack = text == "on"; },
          "store the weights of convolutions and large linear layers as the CPU reads them: faster, and the "
          "same up to rounding")
      ->check(CLI::IsMember({"on", "off"}))
      ->default_str("on");
  command
      .add_option(
          "--trust", args.trust,
          "code: run the model's code without a notice; none: refuse to; default: run it, with a notice if "
          "the model is not one that is known by name")
      ->check(CLI::IsMember({"code", "none"}));
  command.add_option("--sha256", args.sha256, "what the SHA-256 of the model's model.json must be");
}

nlohmann::ordered_json versions() { return {{"glint", version()}, {"torch", TORCH_VERSION}}; }

}  // namespace glint::cli
