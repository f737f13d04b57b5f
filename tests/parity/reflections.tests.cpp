// Z-Sampling, W2SD and RF-Sampling against a Python transcription of the papers and of their released code
// that uses diffusers' schedulers and LoRA (tools/golden/reflections.py), on tiny SDXL, SD3, FLUX and Wan
// models with random weights.
#include <glint/bundle/bundle.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/core/schedule_flow.hpp>
#include <glint/core/schedule_vp.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/sampling/sampler.hpp>
#include <glint/solver/solver.hpp>
#include <glint/step/reflect.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/report.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <nlohmann/json.hpp>

using namespace glint;
using nlohmann::json;

namespace GLINT_TEST_FILE {

const TensorMap& golden() {
  static const TensorMap tensors = read_safetensors(test::data("families/reflections.safetensors"));
  return tensors;
}

/// Both sides compute in float32. Rounding grows along a run of 8 steps and up to 40 predictions: the golden
/// latents, made twice, came out up to 1.1e-5 of the largest apart.
constexpr double kTolerance = 1e-4;

Conditioning conditioning(const std::string& prefix) {
  Conditioning one{.tokens = golden().at(prefix + "tokens")};
  if (golden().contains(prefix + "pooled")) one.pooled = golden().at(prefix + "pooled");
  return one;
}

OptionValues options(const json& c, std::initializer_list<const char*> names) {
  OptionValues values;
  for (const char* name : names) values.emplace(name, c.at(name).get<double>());
  return values;
}

/// What a family's released code does differently, where it is not an option of its own.
void as_released(const json& c, Choice& choice) {
  if (c.at("family") == "sd3")
    choice.options.emplace("evaluation", "linear-prev");
  else
    choice.options.emplace("coefficients", "legacy-shifted");
}

/// The case's strategy. True CFG beside an embedded scale has no name: the named presets set the scale of
/// such models.
StepMethod strategy(const json& c, const Bundle& bundle) {
  const bool legacy = c.at("mode") == "legacy";
  Choice choice{.name = c.at("strategy").get<std::string>()};
  if (choice.name == "rf-sampling") {
    choice.options = options(
        c, {"forward_scale", "inverse_scale", "forward_null_mix", "inverse_null_mix", "span", "merge"});
    choice.options.emplace("legacy", legacy);
    return builtins().step(choice);
  }
  if (c.contains("true_guidance")) {
    const auto with_rule = [](double scale) -> PredictorChange {
      return [rule = std::make_shared<const Cfg>(scale)](Predictor predictor) {
        predictor.rule = rule;
        return predictor;
      };
    };
    return std::make_shared<Reflect>("z", with_rule(c.at("guidance_forward").get<double>()),
                                     with_rule(c.at("guidance_inverse").get<double>()), ReflectOptions{});
  }
  if (choice.name == "w2sd") {
    choice.options = options(c, {"strong_adapter", "weak_adapter", "strong_guidance", "weak_guidance"});
    choice.options.emplace("adapter", c.at("adapter").get<std::string>());
  } else {
    choice.options = options(c, {"guidance_forward", "guidance_inverse", "repeats"});
  }
  if (legacy) as_released(c, choice);
  return builtins().step(choice, {.bundle = &bundle});
}

/// The embeddings of the prompt, and of the empty one where RF-Sampling mixes it in; the released code mixes
/// in the prompt.
Prompt prompt_of(const json& c) {
  const std::string family = c.at("family").get<std::string>() + ".";
  const bool empty = c.at("strategy") == "rf-sampling" && (c.at("mode") == "matched" || family == "flux.");
  Prompt prompt{conditioning(family), conditioning(family + (empty ? "null_" : "negative_"))};
  if (family == "sdxl.") {
    const at::Tensor ids = at::tensor({32.0F, 24.0F, 0.0F, 0.0F, 32.0F, 24.0F}).unsqueeze(0);
    for (Conditioning* one : {&prompt.cond, &prompt.uncond}) one->extras["time_ids"] = ids;
  }
  return prompt;
}

double error(const json& c, const Bundle& bundle) {
  const ScheduleSpec& trained = bundle.manifest().schedule;
  const bool vp = trained.kind == NoiseKind::VariancePreserving;
  const auto solver = builtins().solver({.name = c.value("solver", vp ? "ddim" : "flow-euler")});
  const at::Tensor noise = golden().at(c.at("noise").get<std::string>() + ".noise");
  GridOptions grid = trained.grid;
  grid.steps = c.at("steps").get<int>();
  grid.tokens = static_cast<double>(noise.size(2) * noise.size(3)) / 4.0;

  Predictor predictor{.model = bundle.model()};
  if (bundle.manifest().guidance.embedded) {
    predictor.rule = std::make_shared<Cfg>(c.value("true_guidance", 1.0));
    predictor.embedded_guidance = c.at("guidance").get<double>();
  } else {
    predictor.rule = std::make_shared<Cfg>(c.at("guidance").get<double>());
  }
  if (c.contains("final_adapter"))
    predictor.adapters = {{c.at("adapter").get<std::string>(), c.at("final_adapter").get<double>()}};
  const Sampler sampler(
      {.predictor = predictor,
       .schedule = vp ? solver->schedule(trained.vp, grid) : solver->schedule(trained.flow, grid),
       .solver = solver,
       .step_methods = {strategy(c, bundle)}});
  const at::Tensor got = sampler.sample({.prompt = prompt_of(c), .noise = noise}).latents;
  const at::Tensor wanted = golden().at(c.at("name").get<std::string>() + ".latents");
  REQUIRE(got.sizes() == wanted.sizes());
  return got.sub(wanted).abs().max().item<double>() / wanted.abs().max().item<double>();
}

/// A family's bundle, with the adapter of its cases.
Bundle loaded(const std::string& family, const std::string& adapter) {
  const auto folder = test::data("families/" + family);
  const Bundle bundle = Bundle::load(folder);
  return adapter.empty() ? bundle : bundle.with_adapters({{adapter, folder / (adapter + ".safetensors")}});
}

TEST_CASE(
    "Reflections are the transcribed papers' and the released code's, with LoRA predictors, guidance and "
    "embedded "
    "guidance, on pictures and videos",
    "[parity]") {
  const json cases = json::parse(test::read_bytes(test::data("families/reflections.json")));
  std::map<std::string, Bundle> bundles;
  for (const auto& [family, adapter] :
       {std::pair{"sdxl", "lora-kohya"}, {"sd3", "lora-peft"}, {"flux", ""}, {"wan", "lora-published"}})
    bundles.emplace(family, loaded(family, adapter));
  for (const json& c : cases) {
    CAPTURE(c.dump());
    const double distance = error(c, bundles.at(c.at("family")));
    CHECK(distance < kTolerance);
    test::report("{:24} {:.1e} of the largest latent", c.at("name").get<std::string>(), distance);
  }
}

}  // namespace GLINT_TEST_FILE
