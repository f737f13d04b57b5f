#include "cli/cli.hpp"

#include <algorithm>

namespace glint::cli {

namespace fs = std::filesystem;

namespace {

/// Whether a bundle lies in one of the folders that models are found in by name.
bool is_known(const fs::path& folder) {
  std::error_code error;
  const fs::path parent = fs::weakly_canonical(folder, error).parent_path();
  const std::vector<fs::path> known = model_folders();
  return std::any_of(known.begin(), known.end(), [&](const fs::path& one) {
    std::error_code ignored;
    return fs::equivalent(one, parent, ignored);
  });
}

/// Returns the files of a bundle that are code.
std::vector<std::string> code_files(const Manifest& manifest) {
  std::vector<std::string> files;
  for (const auto& [name, component] : manifest.components)
    if (!is_tokenizer(name) && !facts_of(component.backend).built_in) files.push_back(component.file);
  return files;
}

}  // namespace

Bundle open_model(const ModelArguments& args, bool attention, bool quiet) {
  const fs::path folder = find_model(args.name);
  const Bundle bundle =
      Bundle::load(folder, {.device = args.device,
                            .dtype = args.dtype,
                            .attention = attention,
                            .pack = args.pack,
                            .warn = quiet ? nullptr : &warn,
                            .trust = args.trust == "none" ? Trust::Data : Trust::Code,
                            .memory_limit = static_cast<int64_t>(args.memory_limit * 0x1p20),
                            .sha256 = args.sha256});
  const std::vector<std::string> code = code_files(bundle.manifest());
  if (args.trust.empty() && !quiet && !code.empty() && !is_known(folder))
    spdlog::warn(
        "{} runs code from its files {}; use only models you trust (--trust code: you do; --trust none: "
        "refuse)",
        folder.string(), joined_text(code, ", "));
  return bundle;
}

void warn(const std::string& message) { spdlog::warn("{}", message); }

}  // namespace glint::cli
