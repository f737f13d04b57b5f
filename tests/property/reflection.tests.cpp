// Reflections that are switched off change nothing, and reflections of constant predictions are guidance,
// exactly.
#include <glint/model/callable_model.hpp>
#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/unipc.hpp>
#include <glint/step/rf_sampling.hpp>
#include <glint/step/z_sampling.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

#include <numeric>

namespace glint {
namespace GLINT_TEST_FILE {

using test::prompt_of;
using test::relative_error;
using test::schedule_of;
using test::token_model;

constexpr int kSteps = 7;

// The variable in which a step's length is a plain difference: s = sigma/alpha for VP, sigma for flow.
double length(const NoiseSchedule& grid, int i) {
  const Level &from = grid.level(i), &to = grid.level(i + 1);
  return grid.kind() == NoiseKind::Flow ? from.sigma - to.sigma : from.ratio() - to.ratio();
}

// Sum of the steps a reflection of span k passes from step i, in units of that step; 0 on the last, which has
// none.
double span_weight(const NoiseSchedule& grid, int i, int span) {
  double sum = 0.0;
  for (int k = 0; k < std::min(span, grid.steps() - 1 - i); ++k) sum += length(grid, i + k);
  return sum / length(grid, i);
}

// CFG whose scale is given for every step.
class SteppedCfg final : public GuidanceRule {
 public:
  explicit SteppedCfg(std::vector<double> scales) : scales_(std::move(scales)) {}
  BranchSet branches(const StepPosition&) const override { return {.cond = true, .uncond = true}; }
  at::Tensor combine(const BranchOutputs& outputs, const GuidanceStep& step, GuidanceState*) const override {
    return outputs.uncond +
           scales_[static_cast<size_t>(step.position.step)] * (outputs.cond - outputs.uncond);
  }

 private:
  std::vector<double> scales_;
};

SampleResult sample(const NoiseSchedule& grid, std::shared_ptr<const GuidanceRule> rule,
                    std::vector<StepMethod> strategies = {}) {
  return Sampler({.predictor = {.model = token_model(grid.kind(), 0.0), .rule = std::move(rule)},
                  .schedule = grid,
                  .solver = std::make_shared<Euler>(),
                  .step_methods = std::move(strategies)})
      .sample({.prompt = prompt_of(), .noise = test::latents(), .keep_trajectory = true});
}

TEST_CASE("No repeats, no merge or an empty window is the baseline to the bit, at its cost", "[property]") {
  const ReflectOptions off[] = {
      {.repeats = 0}, {.merge = 0.0}, {.window = {.start = 0.5, .stop = 0.5}}, {.window = {.stop = 0.0}}};
  for (NoiseKind kind : test::kKinds) {
    for (const auto& [name, each] : test::solvers_for(kind)) {
      const auto run = [&, solver = each](std::vector<StepMethod> strategies) {
        return test::sampler_of(token_model(kind), schedule_of(kind, kSteps, *solver), solver, 3.0,
                                std::move(strategies))
            .sample({.prompt = prompt_of(), .noise = test::latents()});
      };
      const SampleResult baseline = run({});
      for (const ReflectOptions& options : off) {
        const SampleResult result = run({z_sampling({.guidance_forward = 5.0, .reflect = options})});
        CAPTURE(enum_name(kind), name);
        CHECK(at::equal(result.latents, baseline.latents));
        CHECK(result.usage.calls == baseline.usage.calls);
        CHECK(result.usage.rows == baseline.usage.rows);
        CHECK(result.by_stage.size() == 1);
      }
      CHECK_FALSE(at::equal(run({z_sampling()}).latents, baseline.latents));
    }
  }
}

TEST_CASE("With constant predictions Z-Sampling is CFG at g1 + T m (g1 - g2) until the last step",
          "[property]") {
  for (NoiseKind kind : test::kKinds) {
    const NoiseSchedule grid = schedule_of(kind, kSteps);
    for (const auto& [g1, g2] : {std::pair{5.5, 0.0}, std::pair{2.0, 1.0}, std::pair{1.5, 3.0}}) {
      for (int repeats : {1, 3}) {
        for (double merge : {1.0, 0.5}) {
          const SampleResult z =
              sample(grid, std::make_shared<Cfg>(g1),
                     {z_sampling({.guidance_inverse = g2, .reflect = {.merge = merge, .repeats = repeats}})});
          const SampleResult cfg = sample(grid, std::make_shared<Cfg>(g1 + repeats * merge * (g1 - g2)));
          CAPTURE(enum_name(kind), g1, g2, repeats, merge);
          for (size_t i = 0; i < kSteps; ++i)
            CHECK(relative_error(z.trajectory[i], cfg.trajectory[i]) < 1e-12);
        }
      }
    }
  }
}

TEST_CASE("A span of K steps weighs the gap with the steps it passes", "[property]") {
  // P_eff = P_G + T m sum_k (h_{i+k} / h_i) (P_S - P_W), exact for constant predictions; shortened at the
  // end.
  constexpr double kForward = 4.0, kInverse = 1.0, kMerge = 0.7;
  constexpr int kRepeats = 2;
  for (NoiseKind kind : test::kKinds) {
    const NoiseSchedule grid = kind == NoiseKind::Flow ? flow_schedule({.shift = 3.0}, {.steps = kSteps})
                                                       : schedule_of(kind, kSteps);
    for (int span : {1, 2, 3}) {
      std::vector<double> scales;
      for (int i = 0; i < kSteps; ++i)
        scales.push_back(kForward + kRepeats * kMerge * span_weight(grid, i, span) * (kForward - kInverse));
      const ReflectOptions options{.span = span, .merge = kMerge, .repeats = kRepeats};
      const SampleResult z = sample(grid, std::make_shared<Cfg>(kForward),
                                    {z_sampling({.guidance_inverse = kInverse, .reflect = options})});
      CAPTURE(enum_name(kind), span);
      CHECK(relative_error(z.latents, sample(grid, std::make_shared<SteppedCfg>(scales)).latents) < 1e-12);
    }
  }
}

TEST_CASE("Two reflections add their displacements where predictions are constant", "[property]") {
  const NoiseSchedule grid = schedule_of(NoiseKind::Flow, kSteps);
  const auto z = [](double g1, double g2) {
    return z_sampling({.guidance_forward = g1, .guidance_inverse = g2});
  };
  const SampleResult both = sample(grid, std::make_shared<Cfg>(2.0), {z(3.0, 1.0), z(0.5, 0.0)});
  const SampleResult cfg = sample(grid, std::make_shared<Cfg>(2.0 + 2.0 + 0.5));
  CHECK(relative_error(both.trajectory[kSteps - 1], cfg.trajectory[kSteps - 1]) < 1e-12);
}

TEST_CASE("RF-Sampling's mix: its share means nothing between equal embeddings, and s = -1 leaves none",
          "[property]") {
  const at::Tensor tokens = NoiseStream(5, 1).normal({4, 3}, at::kDouble);
  const Prompt same{{.tokens = tokens}, {.tokens = tokens.clone()}};
  const auto mixed = [&](double s, double r) {
    return with_mixed_tokens(s, r, UncondEmbedding::Faithful)(Predictor{}).condition(same).cond.tokens;
  };
  CHECK(relative_error(mixed(2.5, 0.3), tokens * 3.5) < 1e-15);
  CHECK(relative_error(mixed(2.5, 0.9), mixed(2.5, 0.1)) < 1e-15);
  CHECK(at::equal(mixed(-1.0, 0.7), at::zeros_like(tokens)));
}

TEST_CASE("Reflecting between scaled prompts is exact where the velocity is linear in the tokens",
          "[property]") {
  // v(x, c) = f + B c on latents [4,8,8] with tokens [1,4,1]: one token per channel.
  const at::Tensor f = NoiseStream(1, 1).normal({4, 8, 8}, at::kDouble),
                   b = NoiseStream(2, 1).normal({4, 8, 8}, at::kDouble);
  const auto field = [&](const at::Tensor& tokens) { return b * tokens.reshape({1, 4, 1, 1}); };
  const auto model = std::make_shared<CallableModel>(
      ModelInfo{.parameterization = Parameterization::Velocity, .noise_kind = NoiseKind::Flow},
      [&](const ModelInput& in) {
        return std::vector<at::Tensor>{(f + field(in.branches.front()->tokens)).expand_as(in.x).contiguous()};
      });
  const Prompt prompt{{.tokens = NoiseStream(3, 1).normal({4, 1}, at::kDouble)},
                      {.tokens = NoiseStream(4, 1).normal({4, 1}, at::kDouble)}};
  // c' = c + s ((1 - r) c + r c_uncond)
  const auto predictor = [](double s, double r) -> PredictorChange {
    return [s, r](Predictor base) {
      base.condition = [s, r](const Prompt& p) {
        return Prompt{add(p.cond, lerp(p.cond, p.uncond, r), s), p.uncond};
      };
      return base;
    };
  };
  constexpr double kHigh = 3.5, kLow = -1.0, kMixHigh = 0.3, kMixLow = 0.7, kMerge = 0.5;
  const auto mixed = [&](double r) { return prompt.cond.tokens * (1.0 - r) + prompt.uncond.tokens * r; };
  const at::Tensor gap = field(kHigh * mixed(kMixHigh) - kLow * mixed(kMixLow));
  const NoiseSchedule grid = flow_schedule({.shift = 3.0}, {.steps = kSteps});
  for (int span : {1, 2, 3}) {
    const SampleResult result =
        Sampler({.predictor = {.model = model, .rule = std::make_shared<Cfg>(1.0)},
                 .schedule = grid,
                 .solver = std::make_shared<FlowEuler>(),
                 .step_methods = {std::make_shared<Reflect>("rf", predictor(kHigh, kMixHigh),
                                                            predictor(kLow, kMixLow),
                                                            ReflectOptions{.span = span, .merge = kMerge})}})
            .sample({.prompt = prompt, .noise = test::latents(), .keep_trajectory = true});
    for (int i = 0; i < kSteps; ++i) {
      const auto at = static_cast<size_t>(i);
      const at::Tensor moved = result.trajectory[at + 1] - result.trajectory[at];
      const at::Tensor effective = f + field(prompt.cond.tokens) + kMerge * span_weight(grid, i, span) * gap;
      CAPTURE(span, i);
      CHECK(relative_error(moved, (-length(grid, i) * effective).expand_as(moved)) < 1e-12);
    }
  }
}

// Adds to the latents of one step.
class Nudge final : public StepStrategy {
 public:
  Nudge(int at_step, at::Tensor by) : at_step_(at_step), by_(std::move(by)) {}
  std::string_view name() const override { return "nudge"; }
  bool active(int i, int) const override { return i == at_step_; }
  at::Tensor refine(const at::Tensor& x, const StepContext&) const override { return x + by_; }

 private:
  int at_step_;
  at::Tensor by_;
};

TEST_CASE("What a strategy adds reaches the next latents, and no corrector takes it back", "[property]") {
  const std::shared_ptr<const Solver> solvers[] = {std::make_shared<Ddim>(), std::make_shared<Euler>(),
                                                   std::make_shared<Dpmpp2m>(), std::make_shared<UniPc>()};
  const at::Tensor noise = test::latents(), by = test::latents(2, 9), data = test::latents(2, 10);
  for (NoiseKind kind : test::kKinds) {
    const auto model =
        test::model_of(Parameterization::X0, kind, [&](const at::Tensor&, const Level&) { return data; });
    for (size_t k = 0; k < std::size(solvers); ++k) {
      const NoiseSchedule grid = schedule_of(kind, kSteps, *solvers[k]);
      const auto run = [&](std::vector<StepMethod> strategies) {
        return test::sampler_of(model, grid, solvers[k], 1.0, std::move(strategies))
            .sample({.prompt = prompt_of(), .noise = noise, .keep_trajectory = true})
            .trajectory;
      };
      const std::vector<at::Tensor> plain = run({});
      for (int i : {0, 1, 4}) {
        // With a constant x0 the next latents hold x through sigma'/sigma alone.
        const at::Tensor moved = run({std::make_shared<Nudge>(i, by)})[static_cast<size_t>(i) + 1];
        const at::Tensor expected = by * (grid.landing(i).sigma / grid.level(i).sigma);
        CAPTURE(enum_name(kind), k, i);
        CHECK(relative_error(moved - plain[static_cast<size_t>(i) + 1], expected) < 1e-12);
      }
    }
  }
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
