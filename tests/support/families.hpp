// The tiny bundles of the published families and their golden runs; tests/data/families is made by
// tools/golden.
#pragma once

#include <glint/io/safetensors.hpp>
#include <glint/pipeline/pipeline.hpp>

#include "tests/support/files.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <vector>

namespace glint::test {

/// A family's bundle in a folder of its own, with changes to its manifest. Its files are links to the test
/// data, so a test that damages one has to replace it.
struct FamilyBundle {
  TemporaryFolder folder;

  /// `manifest` is model.json (TorchScript throughout) or pt2.json (the denoiser an exported program).
  explicit FamilyBundle(
      const std::string& family, const std::string& manifest = "model.json",
      const std::function<void(nlohmann::json&)>& change = [](nlohmann::json&) {}) {
    const auto source = data("families/" + family);
    for (const auto& file : std::filesystem::directory_iterator(source))
      if (file.path().extension() != ".json" || file.path().filename().string().starts_with("tokenizer"))
        std::filesystem::create_symlink(file.path(), folder.path() / file.path().filename());
    auto document = nlohmann::json::parse(read_bytes(source / manifest));
    change(document);
    write_bytes(folder / "model.json", document.dump());
  }
  Bundle load(const LoadOptions& options = {}) const { return Bundle::load(folder.path(), options); }
};

/// The runs of a family: what each asked for, and the tensors "CASE.noise", "CASE.latents", some
/// "CASE.pictures".
struct GoldenRuns {
  nlohmann::json told;
  TensorMap tensors;

  explicit GoldenRuns(const std::string& family)
      : told(nlohmann::json::parse(read_bytes(data("families/" + family + "/golden.json")))),
        tensors(read_safetensors(data("families/" + family + "/golden.safetensors"))) {}

  const nlohmann::json& cases() const { return told["cases"]; }
  const nlohmann::json& named(const std::string& name) const {
    for (const auto& one : cases())
      if (one["name"] == name) return one;
    fail(ErrorCode::NotFound, "no golden run '{}'", name);
  }

  /// The request of a run, for latents only.
  GenerateRequest request(const nlohmann::json& run) const {
    GenerateRequest request{.prompts = {told["prompt"].get<std::string>()}, .decode = false};
    if (!run["negative"].is_null()) request.negative = run["negative"].get<std::string>();
    request.steps = run["steps"].get<int>();
    request.guidance = run["guidance"].get<double>();
    request.solver = Choice{.name = run["solver"]};
    if (!run["true_guidance"].is_null())
      request.with = {{"cfg", {{"scale", run["true_guidance"].get<double>()}}}};
    for (const char* name : {"spacing", "sigmas"})
      if (!run[name].is_null()) request.schedule.emplace(name, run[name].get<std::string>());
    if (!run["shift"].is_null()) request.schedule.emplace("shift", run["shift"].get<double>());
    request.noise = tensors.at(run["name"].get<std::string>() + ".noise");
    return request;
  }
};

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return a.to(at::kDouble).sub(b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace glint::test
