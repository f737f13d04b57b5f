// The rows a run counts are those its strategies' formulas say, for every pair of strategies under every
// rule.
#include <glint/catalog/registry.hpp>
#include <glint/guidance/autoguidance.hpp>
#include <glint/guidance/core2.hpp>
#include <glint/guidance/perturbation.hpp>
#include <glint/noise/golden_noise.hpp>
#include <glint/noise/reward_selection.hpp>
#include <glint/step/z_core2.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

/// Rows of one guided prediction at step i of n.
using RowsAt = std::function<int64_t(int i, int n)>;

struct NamedRule {
  std::string name;
  std::shared_ptr<const GuidanceRule> rule;
  RowsAt rows;
  bool uncond = true;  // evaluates the negative prompt at every step
};

struct NamedStep {
  std::string name;
  StepMethod strategy;
  /// Rows on top of the accepted prediction at an active step, with G those of the run's rule.
  std::function<int64_t(int64_t g)> rows;
};

struct NamedNoise {
  std::string name;
  std::shared_ptr<const NoiseStrategy> strategy;
  /// Rows before the run, with R those of the plain run and `rows` its rule's.
  std::function<int64_t(int n, int64_t r, const RowsAt& rows)> cost;
};

const WeakNetwork kNetwork = [](const at::Tensor& cond, const GuidanceStep&) { return cond.mul(0.9); };

RowsAt always(int64_t rows) {
  return [rows](int, int) { return rows; };
}

std::vector<NamedRule> rules() {
  const auto by_name = [](const char* name, OptionValues options = {}) {
    return builtins().rule({.name = name, .options = std::move(options)});
  };
  const auto weak = [] { return WeakBranch{.model = test::token_model(NoiseKind::Flow, 0.1)}; };
  return {
      {"cfg", by_name("cfg"), always(2)},
      {"cfg 1", by_name("cfg", {{"scale", 1}}), always(1), false},
      {"cfg 1, both", by_name("cfg", {{"scale", 1}, {"branches", "legacy-both"}}), always(2)},
      {"cfg-schedule", by_name("cfg-schedule", {{"scales", "2x1+3"}}), always(2)},
      {"cfg-zero-star", by_name("cfg-zero-star"), [](int i, int) { return i == 0 ? 1 : 2; }, false},
      {"apg", by_name("apg", {{"warmup_steps", 2}, {"momentum", -0.5}}), always(2)},
      {"mambo-g", by_name("mambo-g"), always(2)},
      {"tcfg", by_name("tcfg"), always(2)},
      {"fdg", by_name("fdg"), always(2)},
      {"tdg", by_name("tdg"), always(3)},
      {"autoguidance", std::make_shared<AutoGuidance>(weak(), AutoGuidanceOptions{}), always(2), false},
      {"perturbation",
       std::make_shared<Perturbation>(weak(), PerturbationOptions{.window = {.start = 0.0, .stop = 0.75}}),
       [](int i, int n) { return 0 < i && i < 3 * n / 4 ? 3 : 2; }},
      {"core2", std::make_shared<Core2>(kNetwork, Core2Options{.slow_steps = 2}),
       [](int i, int) { return i < 2 ? 2 : 1; }, false},
  };
}

/// Those that invert: their rows do not depend on what the accepted prediction evaluates.
std::vector<NamedStep> reflections() {
  const auto by_name = [](const char* name, OptionValues options = {}) {
    return builtins().step({.name = name, .options = std::move(options)});
  };
  const StepMethod z_core2 = glint::z_core2(kNetwork);
  return {
      {"z-sampling", by_name("z-sampling"), [](int64_t g) { return g + 1; }},
      {"z-sampling, both", by_name("z-sampling", {{"branches", "legacy-both"}}),
       [](int64_t g) { return g + 2; }},
      {"z-sampling twice",
       by_name("z-sampling", {{"guidance_forward", 3}, {"guidance_inverse", 0.5}, {"repeats", 2}}),
       [](int64_t) { return 2 * (2 + 2); }},
      {"w2sd", by_name("w2sd"), [](int64_t g) { return g + 1; }},
      {"w2sd, both", by_name("w2sd", {{"branches", "legacy-both"}}), [](int64_t g) { return g + 2; }},
      {"rf-sampling", by_name("rf-sampling"), [](int64_t g) { return 2 * g; }},
      {"z-core2", z_core2, [](int64_t g) { return g + 1; }},
      {"reflect, fixed-point",
       by_name("reflect", {{"weak_guidance", 0}, {"evaluation", "fixed-point"}, {"iterations", 3}}),
       [](int64_t g) { return g + 3; }},
  };
}

/// With `r` the rows of one plain run, whose steps the round trips and candidates visit.
std::vector<NamedNoise> noises(int n) {
  const auto by_name = [](const char* name, OptionValues options) {
    return builtins().noise({.name = name, .options = std::move(options)});
  };
  const auto scorer = [](const at::Tensor& x, const Prompt&) { return x.flatten(1).mean(1); };
  const auto golden = [](const at::Tensor& x, const Prompt&) { return x.mul(1.1); };
  return {
      {"none", nullptr, [](int, int64_t, const RowsAt&) { return 0; }},
      {"stability-selection", by_name("stability-selection", {{"candidates", 3}, {"steps", n}}),
       [](int, int64_t r, const RowsAt&) { return 2 * r * 3; }},
      {"stability-optimization",
       by_name("stability-optimization", {{"iterations", 2}, {"steps", n}, {"gradient", "perturbation"}}),
       [](int, int64_t r, const RowsAt&) { return 4 * r * (2 + 1); }},
      {"reward-selection",
       std::make_shared<RewardSelection>(scorer, RewardSelectionOptions{.candidates = 4, .prune_at = 0.5}),
       [](int steps, int64_t r, const RowsAt& rows) {
         int64_t before = 0;
         for (int i = 0; i < steps / 2; ++i) before += rows(i, steps);
         return 4 * (before + rows(steps / 2, steps)) + 2 * (r - before);
       }},
      {"golden-noise", std::make_shared<GoldenNoise>(golden), [](int, int64_t, const RowsAt&) { return 0; }},
  };
}

int64_t counted(int n, const NamedRule& rule, std::vector<std::shared_ptr<const NoiseStrategy>> noise,
                std::vector<StepMethod> steps, int64_t batch = 1) {
  std::erase(noise, nullptr);
  const auto result =
      Sampler({.predictor = {.model = test::token_model(NoiseKind::Flow, 0.3), .rule = rule.rule},
               .schedule = test::schedule_of(NoiseKind::Flow, n),
               .solver = std::make_shared<Euler>(),
               .noise_strategies = std::move(noise),
               .step_methods = std::move(steps)})
          .sample({.prompt = test::prompt_of(), .noise = test::latents(batch)});
  CHECK(result.usage.rows % batch == 0);
  return result.usage.rows / batch;
}

int64_t plain(int n, const RowsAt& rows) {
  int64_t sum = 0;
  for (int i = 0; i < n; ++i) sum += rows(i, n);
  return sum;
}

TEST_CASE("Noise, step and rule: rows are the sum of their formulas", "[property]") {
  constexpr int n = 4;
  int runs = 0;
  for (const NamedRule& rule : rules()) {
    const int64_t r = plain(n, rule.rows);
    CAPTURE(rule.name);
    CHECK(counted(n, rule, {}, {}, 2) == r);
    for (const NamedNoise& noise : noises(n))
      for (const NamedStep& step : reflections()) {
        CAPTURE(noise.name, step.name);
        int64_t reflected = 0;
        for (int i = 0; i < n - 1; ++i) reflected += step.rows(rule.rows(i, n));
        CHECK(counted(n, rule, {noise.strategy}, {step.strategy}) ==
              noise.cost(n, r, rule.rows) + reflected + r);
        ++runs;
      }
  }
  CHECK(runs == 13 * 5 * 8);
}

TEST_CASE("Two step strategies: rows are the sum of both", "[property]") {
  constexpr int n = 4;
  for (const NamedRule& rule : rules())
    for (const NamedStep& first : reflections())
      for (const NamedStep& second : reflections()) {
        CAPTURE(rule.name, first.name, second.name);
        int64_t rows = plain(n, rule.rows);
        for (int i = 0; i < n - 1; ++i) rows += first.rows(rule.rows(i, n)) + second.rows(rule.rows(i, n));
        CHECK(counted(n, rule, {}, {first.strategy, second.strategy}) == rows);
      }
}

TEST_CASE("Two noise strategies: rows are the sum of both", "[property]") {
  constexpr int n = 4;
  for (const NamedRule& rule : rules()) {
    const int64_t r = plain(n, rule.rows);
    for (const NamedNoise& first : noises(n))
      for (const NamedNoise& second : noises(n)) {
        CAPTURE(rule.name, first.name, second.name);
        CHECK(counted(n, rule, {first.strategy, second.strategy}, {}) ==
              first.cost(n, r, rule.rows) + second.cost(n, r, rule.rows) + r);
      }
  }
}

TEST_CASE("Direct forms pay for what the accepted prediction does not evaluate, once for all of them",
          "[property]") {
  constexpr int n = 4;
  const auto direct = [](const char* name, OptionValues options = {}) {
    options.emplace("form", "direct");
    return builtins().step({.name = name, .options = std::move(options)});
  };
  const auto z = direct("z-sampling"), w2sd = direct("w2sd", {{"strong_guidance", 3}, {"weak_guidance", 1}}),
             rf = direct("rf-sampling");
  for (const NamedRule& rule : rules()) {
    const int64_t r = plain(n, rule.rows);
    CAPTURE(rule.name);
    for (const auto& steps : {std::vector{z}, {w2sd}, {z, w2sd}, {rf}, {z, rf}, {rf, z, w2sd}}) {
      int64_t rows = r;
      bool asks_uncond = false, has_rf = false;
      for (const auto& step : steps) {
        asks_uncond = asks_uncond || step.term == z.term || step.term == w2sd.term;
        has_rf = has_rf || step.term == rf.term;
      }
      for (int i = 0; i < n - 1; ++i) {
        const int64_t g = rule.rows(i, n);
        // The negative prompt, where the rule does without it at this step; every rule here evaluates the
        // prompt.
        const bool evaluated =
            rule.uncond || (rule.name == "cfg-zero-star" && i > 0) || (rule.name == "core2" && i < 2);
        if (asks_uncond && !evaluated) rows += 1;
        // Token embeddings of its own, twice; the negative prompt's stay.
        if (has_rf) rows += 2 * (g - (evaluated ? 1 : 0));
      }
      CAPTURE(steps.size(), has_rf);
      CHECK(counted(n, rule, {}, steps) == rows);
    }
  }
}

TEST_CASE("Fifty steps cost what the papers' repositories and their pruned forms do", "[property]") {
  constexpr int n = 50;
  const auto rule = [](const char* name) {
    for (const NamedRule& r : rules())
      if (r.name == name) return r;
    return rules().at(100);
  };
  const auto step = [](const std::string& name) {
    for (const NamedStep& s : reflections())
      if (s.name == name) return s.strategy;
    return reflections().at(100).strategy;
  };
  const NamedRule cfg = rule("cfg");
  CHECK(counted(n, cfg, {}, {}) == 100);
  CHECK(counted(n, cfg, {}, {step("z-sampling, both")}) == 296);
  CHECK(counted(n, cfg, {}, {step("z-sampling")}) == 247);
  CHECK(counted(n, cfg, {}, {step("w2sd, both")}) == 296);
  CHECK(counted(n, cfg, {}, {step("w2sd")}) == 247);
  CHECK(counted(n, cfg, {}, {step("z-sampling, both"), step("w2sd, both")}) == 492);
  CHECK(counted(n, cfg, {}, {step("z-sampling"), step("w2sd")}) == 394);
  CHECK(counted(n, cfg, {}, {step("rf-sampling")}) == 296);
  CHECK(counted(n, cfg, {}, {step("z-core2")}) == 247);
  CHECK(counted(n, rule("cfg 1"), {}, {}) == 50);
  CHECK(counted(n, rule("cfg 1, both"), {}, {}) == 100);
  CHECK(counted(n, rule("core2"), {}, {}) == 2 * 2 + 48);
  for (int slow : {0, 28, 50})
    CHECK(counted(n, {"core2", std::make_shared<Core2>(kNetwork, Core2Options{.slow_steps = slow}), {}}, {},
                  {}) == 2 * slow + (n - slow));
  CHECK(counted(n, cfg, {builtins().noise({"stability-selection", {{"candidates", 2}, {"steps", n}}})}, {}) ==
        100 + 200 * 2);
  // FLUX.1-dev and -lite under RF-Sampling, which have no guidance rows: the published code repeats the last
  // step where ours shortens the reflection, hence 2 K fewer evaluations at the last step and 2 (K-1) ... 2
  // before it.
  const auto rf = [](int span) { return builtins().step({"rf-sampling", {{"span", span}}}); };
  CHECK(counted(28, rule("cfg 1"), {}, {rf(1)}) == 84 - 2);
  CHECK(counted(28, rule("cfg 1"), {}, {rf(2)}) == 140 - 4 - 2);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
