// Every noise strategy with every step strategy under every rule runs, or is refused when it is built; the
// direct form is exact guidance; rows are those the formulas say.
#include <glint/pipeline/pipeline.hpp>
#include <glint/step/z_core2.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/runs.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>

namespace glint {
namespace GLINT_TEST_FILE {

using test::relative_error;
using test::run;

constexpr int kSteps = test::kRunSteps;

Choice small(std::string_view name) {
  Choice choice{.name = std::string(name)};
  if (name == "stability-selection") choice.options = {{"candidates", 8}, {"steps", 2}};
  if (name == "stability-optimization")
    choice.options = {{"iterations", 2}, {"steps", 2}, {"gradient", "perturbation"}};
  return choice;
}

/// Everything that ships runs on this bundle: it has each kind of component.
const Pipeline& pipeline() {
  static const Pipeline all(Bundle::load(test::source_dir() / "models/emoji-flow"));
  return all;
}

/// Entries of a kind; with `bundle`, those that need one and no others.
std::vector<Choice> entries(std::string_view kind, bool bundle) {
  std::vector<Choice> choices;
  for (const auto& entry : builtins().entries()) {
    if (entry.info.kind != kind) continue;
    const std::string message = test::failure([&] { entry.make({}, {}); });
    if ((message.find("needs a model bundle") != std::string::npos) == bundle)
      choices.push_back(small(entry.info.name));
  }
  return choices;
}

TEST_CASE("Every noise and step strategy under every rule: finite, repeatable, and the costs add up",
          "[property]") {
  const auto product = [](const Choice& choice) { return builtins().make(choice); };
  int runs = 0;
  for (const Choice& r : entries("rule", false)) {
    const auto rule = std::get<std::shared_ptr<const GuidanceRule>>(product(r));
    const SampleResult plain = run(NoiseKind::Flow, rule, {}, {});
    for (const Choice& a : entries("noise", false)) {
      const auto noise = std::get<std::shared_ptr<const NoiseStrategy>>(product(a));
      const SampleResult with_noise = run(NoiseKind::Flow, rule, {noise}, {});
      CAPTURE(r.name, a.name);
      CHECK_FALSE(at::equal(with_noise.latents, plain.latents));
      for (const Choice& b : entries("step", false)) {
        CAPTURE(b.name);
        const StepMethod step = std::get<StepMethod>(product(b));
        const SampleResult with_step = run(NoiseKind::Flow, rule, {}, {step});
        const SampleResult both = run(NoiseKind::Flow, rule, {noise}, {step});
        CHECK(at::isfinite(both.latents).all().item<bool>());
        CHECK(at::equal(run(NoiseKind::Flow, rule, {noise}, {step}).latents, both.latents));
        CHECK(both.usage.rows - plain.usage.rows ==
              (with_noise.usage.rows - plain.usage.rows) + (with_step.usage.rows - plain.usage.rows));
        ++runs;
      }
    }
  }
  CHECK(runs >= 2 * 4 * 8);
}

TEST_CASE("What needs a bundle composes with everything else there", "[property]") {
  const auto sampled = [](std::vector<Method> with) {
    return pipeline()
        .generate({.prompts = {"red apple"},
                   .steps = 3,
                   .with = std::move(with),
                   .seed = 5,
                   .width = 64,
                   .height = 64,
                   .decode = false})
        .sample;
  };
  const SampleResult plain = sampled({});
  const Choice others[] = {
      {"apg", {{"momentum", -0.5}}}, {"z-sampling"}, small("stability-selection"), {"rescale"}};
  int runs = 0;
  for (const char* kind : {"rule", "step", "noise"})
    for (Choice own : entries(kind, true)) {
      if (own.name == "perturbation") own.options = {{"weak_model", "weak_denoiser"}, {"stop", 1.0}};
      const SampleResult alone = sampled({own});
      CAPTURE(own.name);
      CHECK_FALSE(at::equal(alone.latents, plain.latents));
      for (const Choice& other : others) {
        if (builtins().entry(other.name).info.kind == "rule" && std::string_view(kind) == "rule") continue;
        CAPTURE(other.name);
        const SampleResult both = sampled({own, other});
        CHECK(at::isfinite(both.latents).all().item<bool>());
        CHECK(both.usage.rows >= alone.usage.rows);
        CHECK(at::equal(sampled({own, other}).latents, both.latents));
        ++runs;
      }
    }
  CHECK(runs >= 20);
}

TEST_CASE("Every cache composes with what changes a run elsewhere, and spares as much in a batch as alone",
          "[property]") {
  struct Other {
    const char* name;
    std::vector<Method> with;
    Adapters adapters = {};
  };
  const Other others[] = {{"nothing", {}},
                          {"core2", {{"core2", {{"slow_steps", 3}}}}},
                          {"z-sampling direct", {{"z-sampling", {{"form", "direct"}}}}},
                          {"golden-noise", {{"golden-noise"}}},
                          {"pisa", {{"pisa", {{"min_tokens", 64}, {"first_dense_layers", 0}}}}},
                          {"nag", {{"nag"}}},
                          {"two adapters", {}, {{"strong", 0.6}, {"weak", -0.4}}}};
  const Choice caches[] = {{"easy-cache", {{"threshold", 0.5}}},
                           {"mag-cache", {{"ratios", "0.99"}}},
                           {"taylor-seer", {{"interval", 2}}},
                           {"spectrum", {{"warmup", 2}}},
                           {"cfg-cache", {{"interval", 3}, {"time_max", 1000}}},
                           {"adaptive-guidance", {{"threshold", 0.5}}},
                           {"step-mask", {{"mask", "110101"}}}};
  for (const auto& [name, with, adapters] : others) {
    const auto sampled = [&](const Choice* cache, uint64_t seed, int64_t count) {
      std::vector<Method> methods = with;
      if (cache) methods.emplace_back(*cache);
      return pipeline()
          .generate({.prompts = {"red apple"},
                     .steps = 6,
                     .with = std::move(methods),
                     .adapters = adapters,
                     .seed = seed,
                     .count = count,
                     .width = 64,
                     .height = 64,
                     .decode = false})
          .sample;
    };
    const SampleResult plain = sampled(nullptr, 5, 3);
    for (const Choice& cache : caches) {
      CAPTURE(name, cache.name);
      const SampleResult batch = sampled(&cache, 5, 3);
      CHECK(at::isfinite(batch.latents).all().item<bool>());
      const std::vector<double>& spared = batch.reports.at(cache.name).at("spared");
      REQUIRE(spared.size() == 3);
      CHECK(static_cast<double>(batch.usage.rows) + spared[0] + spared[1] + spared[2] ==
            static_cast<double>(plain.usage.rows));
      const SampleResult alone = sampled(&cache, 6, 1);
      CHECK(alone.reports.at(cache.name).at("spared").front() == spared[1]);
      // The network rounds differently in another batch.
      CHECK(relative_error(alone.latents, batch.latents.slice(0, 1, 2)) < 1e-4);
    }
  }
}

TEST_CASE("The first-order forms are exact guidance for any model", "[property]") {
  // With the gap inside the prediction there is nothing to expand: Z's direct form is CFG at 2 g1 - g2 but
  // for the last step.
  for (NoiseKind kind : test::kKinds) {
    const auto direct = builtins().step({"z-sampling", {{"guidance_inverse", 0.5}, {"form", "direct"}}});
    const auto schedule = builtins().rule({"cfg-schedule", {{"scales", "3.5x4+2"}}});
    const SampleResult z = run(kind, std::make_shared<Cfg>(2.0), {}, {direct});
    const SampleResult cfg = run(kind, schedule, {}, {});
    CHECK(relative_error(z.latents, cfg.latents) < 1e-12);
    CHECK(z.usage.rows ==
          cfg.usage.rows);  // no row more: the predictors share the accepted prediction's branches
    CHECK(z.usage.calls == cfg.usage.calls);
  }
}

TEST_CASE("W2SD with a guidance gap is Z-Sampling to the bit", "[property]") {
  for (const char* form : {"reflect", "direct"}) {
    const auto w2sd =
        builtins().step({"w2sd", {{"strong_guidance", 3.0}, {"weak_guidance", 0.0}, {"form", form}}});
    const auto z = builtins().step({"z-sampling", {{"guidance_forward", 3.0}, {"form", form}}});
    for (NoiseKind kind : test::kKinds)
      CHECK(at::equal(run(kind, std::make_shared<Cfg>(2.0), {}, {w2sd}).latents,
                      run(kind, std::make_shared<Cfg>(2.0), {}, {z}).latents));
  }
}

TEST_CASE("The direct and the reflected form agree where predictions are constant, for every span",
          "[property]") {
  for (NoiseKind kind : test::kKinds)
    for (int span : {1, 2, 3}) {
      const auto step = [&](const char* form) {
        return builtins().step({"rf-sampling",
                                {{"forward_scale", 2.0},
                                 {"inverse_scale", -0.5},
                                 {"span", span},
                                 {"repeats", 2},
                                 {"form", form}}});
      };
      const auto rule = std::make_shared<Cfg>(2.0);
      CAPTURE(enum_name(kind), span);
      CHECK(relative_error(run(kind, rule, {}, {step("direct")}, 2, 0.0).latents,
                           run(kind, rule, {}, {step("reflect")}, 2, 0.0).latents) < 1e-11);
    }
}

TEST_CASE("RF-Sampling's compatibility switches", "[property]") {
  const auto rf = [](OptionValues options) {
    options.emplace("forward_scale", 1.0);
    options.emplace("inverse_scale", -0.5);
    return run(NoiseKind::Flow, std::make_shared<Cfg>(1.0), {}, {builtins().step({"rf-sampling", options})})
        .latents;
  };
  const at::Tensor plain = run(NoiseKind::Flow, std::make_shared<Cfg>(1.0), {}, {}).latents;
  CHECK(at::equal(rf({{"merge", 0.0}}), plain));
  CHECK_FALSE(at::equal(rf({{"merge", 0.0}, {"legacy", true}}), plain));
  CHECK(at::equal(rf({{"merge", 0.0}, {"legacy", true}}), rf({{"merge", 1.0}, {"legacy", true}})));
  // With the prompt in the null's place the mix shares have no effect.
  CHECK(at::equal(rf({{"uncond", "legacy-prompt"}, {"forward_null_mix", 0.9}}),
                  rf({{"uncond", "legacy-prompt"}})));
  CHECK_FALSE(at::equal(rf({{"forward_null_mix", 0.9}}), rf({})));
}

TEST_CASE("Evaluating both branches where one is needed costs rows and changes nothing", "[property]") {
  const auto rule = std::make_shared<Cfg>(3.0);
  for (const char* name : {"z-sampling", "w2sd"}) {
    const SampleResult needed = run(NoiseKind::Flow, rule, {}, {builtins().step({name, {}})}),
                       both = run(NoiseKind::Flow, rule, {},
                                  {builtins().step({name, {{"branches", "legacy-both"}}})});
    CHECK(at::equal(needed.latents, both.latents));
    CHECK(both.usage.rows == needed.usage.rows + 2 * (kSteps - 1));
  }
  for (double scale : {0.0, 1.0})
    CHECK(at::equal(
        run(NoiseKind::Flow, std::make_shared<Cfg>(scale), {}, {}).latents,
        run(NoiseKind::Flow,
            std::make_shared<Cfg>(CfgOptions{.scale = scale, .branches = Branches::LegacyBoth}), {}, {})
            .latents));
}

TEST_CASE("A step after a reflection at a scale of its own is a run at that scale, but for the last step",
          "[property]") {
  const auto z = builtins().step({"z-sampling", {{"guidance_forward", 7.0}}});
  StepMethod fixed = z;
  fixed.term = std::make_shared<PredictAfterReflection>(with_guidance(3.5), ReflectOptions{});
  for (NoiseKind kind : test::kKinds) {
    const SampleResult result = run(kind, std::make_shared<Cfg>(7.0), {}, {fixed});
    const SampleResult expected =
        run(kind, builtins().rule({"cfg-schedule", {{"scales", "3.5x4+7"}}}), {}, {z});
    CHECK(relative_error(result.latents, expected.latents) < 1e-12);
    CHECK(result.usage.rows == expected.usage.rows);  // both scales of CFG share their branches
    CHECK(relative_error(result.latents, run(kind, std::make_shared<Cfg>(7.0), {}, {z}).latents) > 1e-3);
  }
}

TEST_CASE("Rows counted are rows documented", "[property]") {
  struct Case {
    const char* kind;
    Choice choice;
    int64_t rows;  // per sample, on top of the run's 2 N where the choice is a strategy
  };
  constexpr int64_t n = kSteps, s = kSteps - 1;  // S of span 1
  const Case cases[] = {
      {"step", {"z-sampling", {}}, s * (2 + 1)},
      {"step", {"z-sampling", {{"guidance_inverse", 0.5}, {"repeats", 3}}}, 3 * s * (2 + 2)},
      {"step", {"z-sampling", {{"span", 2}}}, (2 * (n - 2) + 1) * (2 + 1)},
      {"step", {"z-sampling", {{"evaluation", "fixed-point"}, {"iterations", 3}}}, s * (2 + 3)},
      {"step", {"z-sampling", {{"form", "direct"}}}, 0},
      {"step", {"w2sd", {}}, s * (2 + 1)},
      {"step", {"rf-sampling", {}}, 2 * s * 2},
      {"step", {"rf-sampling", {{"form", "direct"}}}, 2 * s},  // the negative prompt's row is shared
      {"step", {"reflect", {{"weak_guidance", 0.0}}}, s * (2 + 1)},
      {"noise", {"stability-selection", {{"candidates", 3}, {"steps", 4}}}, 2 * 4 * 2 * 3},
      {"noise", {"stability-selection", {{"candidates", 5}, {"steps", 2}, {"guidance", 1.0}}}, 2 * 2 * 5},
      {"noise", {"stability-selection", {{"candidates", 1}}}, 0},
      {"noise",
       {"stability-optimization", {{"iterations", 3}, {"steps", 2}, {"gradient", "perturbation"}}},
       4 * 2 * 2 * 4},
      {"noise", {"stability-optimization", {{"iterations", 0}}}, 0},
      {"rule", {"cfg", {{"scale", 1.0}}}, n},
      {"rule", {"cfg-schedule", {{"scales", "1x2+3"}}}, 2 * n - 2},
      {"rule", {"cfg-zero-star", {}}, 2 * n - 1},
      {"rule", {"apg", {}}, 2 * n},
      {"rule", {"mambo-g", {}}, 2 * n},
      {"rule", {"tcfg", {}}, 2 * n},
      {"rule", {"fdg", {}}, 2 * n},
      {"rule", {"tdg", {}}, 3 * n},
  };
  for (const auto& [kind, choice, rows] : cases) {
    const auto cfg = std::make_shared<Cfg>(3.0);
    const int64_t batch = 2;
    CAPTURE(choice.name, rows);
    if (std::string_view(kind) == "rule")
      CHECK(run(NoiseKind::Flow, builtins().rule(choice), {}, {}, batch).usage.rows == batch * rows);
    else if (std::string_view(kind) == "step")
      CHECK(run(NoiseKind::Flow, cfg, {}, {builtins().step(choice)}, batch).usage.rows ==
            batch * (2 * n + rows));
    else
      CHECK(run(NoiseKind::Flow, cfg, {builtins().noise(choice)}, {}, batch).usage.rows ==
            batch * (2 * n + rows));
  }
}

TEST_CASE("Noise strategies choose the same for a sample whatever its batch, and whatever their own",
          "[property]") {
  const auto apg = builtins().rule({"apg", {{"momentum", -0.5}}});
  const auto in_batches_of = [&](int batch) {
    const auto noise =
        builtins().noise({"stability-selection", {{"candidates", 5}, {"steps", 3}, {"batch", batch}}});
    return run(NoiseKind::Flow, apg, {noise}, {}).latents;
  };
  CHECK(at::equal(in_batches_of(4), in_batches_of(1)));
  for (const char* name : {"stability-selection", "stability-optimization"}) {
    const auto noise = builtins().noise(small(name));
    const SampleResult both = run(NoiseKind::Flow, apg, {noise}, {});
    for (int64_t b : {0, 1}) {
      const SampleResult one =
          Sampler({.predictor = {.model = test::token_model(NoiseKind::Flow), .rule = apg},
                   .schedule = test::schedule_of(NoiseKind::Flow, kSteps),
                   .solver = std::make_shared<Euler>(),
                   .noise_strategies = {noise}})
              .sample({.prompt = test::prompt_of(),
                       .seed = static_cast<uint64_t>(b),
                       .noise = test::latents().narrow(0, b, 1)});
      CHECK(relative_error(one.latents, both.latents.narrow(0, b, 1)) < 1e-12);
    }
  }
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
