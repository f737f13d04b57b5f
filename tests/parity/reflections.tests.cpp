// Z-Sampling, W2SD and RF-Sampling against a Python transcription of the papers and of their released code that uses diffusers'
// schedulers and LoRA (tools/golden/reflections.py), on tiny SDXL and FLUX models with random weights.
#include <glint/core/schedule_flow.hpp>
#include <glint/core/schedule_vp.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/model/bundle.hpp>
#include <glint/registry.hpp>
#include <glint/sampler.hpp>
#include <glint/solver/solver.hpp>
#include <glint/step/reflect.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/report.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

using namespace glint;
using nlohmann::json;

namespace {

const TensorMap& golden() {
  static const TensorMap tensors = read_safetensors(test::data("families/reflections.safetensors"));
  return tensors;
}

/// Both sides compute in float32. Rounding grows along a run of 8 steps and up to 40 predictions: the golden latents, made twice,
/// came out up to 1.1e-5 of the largest apart.
constexpr double kTolerance = 1e-4;

Conditioning conditioning(const std::string& prefix) {
  return {.tokens = golden().at(prefix + "tokens"), .pooled = golden().at(prefix + "pooled")};
}

OptionValues options(const json& c, std::initializer_list<const char*> names) {
  OptionValues values;
  for (const char* name : names) values.emplace(name, c.at(name).get<double>());
  return values;
}

/// The case's strategy. True CFG beside an embedded scale has no name: the named presets set the scale of such models.
std::shared_ptr<const StepStrategy> strategy(const json& c, const Bundle& bundle) {
  const bool legacy = c.at("mode") == "legacy";
  Choice choice{.name = c.at("strategy").get<std::string>()};
  if (choice.name == "rf-sampling") {
    choice.options = options(
        c, {"forward_scale", "inverse_scale", "forward_null_mix", "inverse_null_mix", "span", "merge"});
    choice.options.emplace("legacy", legacy);
  } else if (c.contains("true_guidance")) {
    const auto with_rule = [](double scale) -> LegTransform {
      return [rule = std::make_shared<const Cfg>(scale)](Leg leg) {
        leg.rule = rule;
        return leg;
      };
    };
    return std::make_shared<Reflect>("z", with_rule(c.at("guidance_forward").get<double>()),
                                     with_rule(c.at("guidance_inverse").get<double>()), ReflectOptions{});
  } else if (choice.name == "w2sd") {
    choice.options = options(c, {"strong_adapter", "weak_adapter", "strong_guidance", "weak_guidance"});
    choice.options.emplace("adapter", c.at("adapter").get<std::string>());
    choice.options.emplace("coefficients", legacy ? "legacy-shifted" : "matched");
  } else {
    choice.options = options(c, {"guidance_forward", "guidance_inverse", "repeats"});
    choice.options.emplace("coefficients", legacy ? "legacy-shifted" : "matched");
  }
  return builtins().step(choice, {.bundle = &bundle});
}

double error(const json& c, const Bundle& bundle) {
  const bool sdxl = c.at("family") == "sdxl";
  const ScheduleSpec& trained = bundle.manifest().schedule;
  const auto solver = builtins().solver({.name = sdxl ? "ddim" : "flow-euler"});
  const at::Tensor noise = golden().at(sdxl ? "sdxl.noise" : "flux.noise");
  GridOptions grid = trained.grid;
  grid.steps = c.at("steps").get<int>();
  grid.tokens = static_cast<double>(noise.size(2) * noise.size(3)) / 4.0;

  Leg leg{.model = bundle.model()};
  Prompt prompt;
  if (sdxl) {
    const at::Tensor ids = at::tensor({32.0F, 24.0F, 0.0F, 0.0F, 32.0F, 24.0F}).unsqueeze(0);
    prompt = {conditioning("sdxl."), conditioning("sdxl.null_")};
    for (Conditioning* one : {&prompt.cond, &prompt.null}) one->extras["time_ids"] = ids;
    leg.rule = std::make_shared<Cfg>(c.at("guidance").get<double>());
    if (c.contains("final_adapter")) leg.adapters = {{"lora-kohya", c.at("final_adapter").get<double>()}};
  } else {
    const bool guided = c.contains("true_guidance");
    prompt = {conditioning("flux."), conditioning(guided ? "flux.negative_" : "flux.null_")};
    leg.rule = std::make_shared<Cfg>(guided ? c.at("true_guidance").get<double>() : 1.0);
    leg.embedded_guidance = c.at("guidance").get<double>();
  }
  const Sampler sampler({.leg = leg,
                         .schedule = sdxl ? vp_schedule(trained.vp, grid, solver->grid())
                                          : flow_schedule(trained.flow, grid, solver->grid()),
                         .solver = solver,
                         .step_strategies = {strategy(c, bundle)}});
  const at::Tensor got = sampler.sample({.prompt = prompt, .noise = noise}).latents;
  const at::Tensor wanted = golden().at(c.at("name").get<std::string>() + ".latents");
  REQUIRE(got.sizes() == wanted.sizes());
  return got.sub(wanted).abs().max().item<double>() / wanted.abs().max().item<double>();
}

}  // namespace

TEST_CASE(
    "reflections are the transcribed papers' and the released code's, with LoRA legs and embedded guidance",
    "[parity]") {
  const json cases = json::parse(test::read_bytes(test::data("families/reflections.json")));
  const Bundle sdxl =
      Bundle::load(test::data("families/sdxl"))
          .with_adapters({{"lora-kohya", test::data("families/sdxl/lora-kohya.safetensors")}});
  const Bundle flux = Bundle::load(test::data("families/flux"));
  for (const json& c : cases) {
    CAPTURE(c.dump());
    const double distance = error(c, c.at("family") == "sdxl" ? sdxl : flux);
    CHECK(distance < kTolerance);
    test::report("{:24} {:.1e} of the largest latent", c.at("name").get<std::string>(), distance);
  }
}
