// Classifier-free guidance, and the state a rule keeps during a run.
#include <glint/step/reflect.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

using test::prompt_of;
using test::token_model;

constexpr NoiseKind kFlow = NoiseKind::Flow;

at::Tensor combined(double scale, const at::Tensor& cond, const at::Tensor& uncond) {
  const Level level{500, 0.5, 0.5};
  return Cfg(scale).combine({cond, uncond},
                            {.position = {},
                             .x = cond,
                             .level = level,
                             .parameterization = Parameterization::Velocity,
                             .prompt = {}},
                            nullptr);
}

TEST_CASE("CFG asks for one branch at scale 0 and 1, for both at every other", "[unit]") {
  const auto asked = [](double scale) {
    const BranchSet set = Cfg(scale).branches({});
    return std::pair{set.cond, set.uncond};
  };
  CHECK(asked(1.0) == std::pair{true, false});
  CHECK(asked(0.0) == std::pair{false, true});
  for (double scale : {-1.0, 0.3, 1.0001, 7.5}) CHECK(asked(scale) == std::pair{true, true});
}

TEST_CASE("CFG is uncond + scale (cond - uncond) to rounding", "[unit]") {
  for (at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const at::Tensor c = test::latents(2, 1), u = test::latents(2, 2);
    for (double w : {-1.0, 0.3, 2.0, 7.5}) {
      const at::Tensor result = combined(w, c.to(dtype), u.to(dtype));
      CAPTURE(w, dtype == at::kFloat);
      CHECK(result.scalar_type() == dtype);
      // A handful of roundings of values up to |w| times the difference, which relative_error is relative to.
      CHECK(test::relative_error(result, u + w * (c - u)) < (dtype == at::kFloat ? 1e-6 : 1e-15));
    }
  }
}

TEST_CASE("At scale 1 and 0 the one output is handed through", "[unit]") {
  const at::Tensor output = test::latents();
  CHECK(combined(1.0, output, {}).is_same(output));
  CHECK(combined(0.0, {}, output).is_same(output));
}

TEST_CASE("A run evaluates and counts only the branches its scale needs", "[unit]") {
  for (const auto& [scale, rows] : {std::pair{1.0, 1}, std::pair{0.0, 1}, std::pair{4.0, 2}}) {
    const Sampler sampler =
        test::sampler_of(token_model(kFlow), test::schedule_of(kFlow, 5), std::make_shared<Euler>(), scale);
    const SampleResult result = sampler.sample({.prompt = prompt_of(), .noise = test::latents(3)});
    CAPTURE(scale);
    CHECK(result.usage.calls == 5);
    CHECK(result.usage.rows == 5 * 3 * rows);
  }
}

TEST_CASE("Scales 1 and 0 sample the prompt and the negative prompt alone", "[unit]") {
  const auto sample = [](double scale, const Prompt& prompt) {
    return test::sampler_of(token_model(kFlow), test::schedule_of(kFlow, 5), std::make_shared<Euler>(), scale)
        .sample({.prompt = prompt, .noise = test::latents()})
        .latents;
  };
  CHECK(at::equal(sample(1.0, prompt_of(0.7, -0.2)), sample(1.0, prompt_of(0.7, 99.0))));
  CHECK(at::equal(sample(0.0, prompt_of(0.7, -0.2)), sample(0.0, prompt_of(99.0, -0.2))));
  CHECK_FALSE(at::equal(sample(1.0, prompt_of()), sample(0.0, prompt_of())));
}

// A rule whose answer depends on how often it was asked in this run.
class Fading final : public GuidanceRule {
 public:
  explicit Fading(std::atomic<int>& begun) : begun_(begun) {}

  BranchSet branches(const StepPosition&) const override { return {}; }
  at::Tensor combine(const BranchOutputs& outputs, const GuidanceStep&, GuidanceState* state) const override {
    return outputs.cond.mul(1.0 / ++static_cast<Count&>(*state).value);
  }
  std::unique_ptr<GuidanceState> begin() const override {
    ++begun_;
    return std::make_unique<Count>();
  }

 private:
  struct Count : GuidanceState {
    int value = 0;
  };
  std::atomic<int>& begun_;
};

TEST_CASE("A rule's state lives through the accepted steps of one run and is fresh in the next", "[unit]") {
  std::atomic<int> begun = 0;
  const Sampler sampler(
      {.predictor = {.model = token_model(kFlow, 0.0), .rule = std::make_shared<Fading>(begun)},
       .schedule = test::schedule_of(kFlow, 4),
       .solver = std::make_shared<Euler>()});
  const SampleRequest request{.prompt = prompt_of(1.0), .noise = test::latents()};
  const at::Tensor first = sampler.sample(request).latents;
  CHECK(begun == 1);
  // Constant velocity 1, faded to 1/k in step k of a quarter each.
  CHECK(test::relative_error(first, request.noise - 0.25 * (1.0 + 1.0 / 2 + 1.0 / 3 + 1.0 / 4)) < 1e-14);
  CHECK(at::equal(first, sampler.sample(request).latents));
  CHECK(begun == 2);
}

TEST_CASE("Predictions remember along the trajectory they belong to, and others stand alone", "[unit]") {
  std::atomic<int> begun = 0;
  const NoiseSchedule schedule = test::schedule_of(kFlow, 4);
  const Prompt prompt = prompt_of(1.0);
  Run run(schedule, prompt, NoiseStream(0, 1), nullptr);
  const Predictor predictor{.model = token_model(kFlow, 0.0), .rule = std::make_shared<Fading>(begun)};
  const at::Tensor x = test::latents(), one = at::ones_like(x);
  const std::unique_ptr<GuidanceState> memory = predictor.rule->begin();
  const std::vector<Predictor> twice{predictor, predictor};
  for (int k = 1; k <= 4; ++k) {
    CHECK(at::equal(run.predict(predictor, x, schedule.level(0), 0), one));
    const auto both = run.predict(twice, x, schedule.level(0), 0, memory.get());
    CHECK(test::relative_error(both[0].output, one / k) < 1e-15);
    CHECK(at::equal(both[1].output, one));
  }
}

TEST_CASE("A reflection's predictions do not advance the state of the accepted steps", "[unit]") {
  std::atomic<int> begun = 0;
  // Both predictors predict with the run's own rule; equal predictors under constant velocity change nothing
  // but its state.
  const PredictorChange same = [](const Predictor& predictor) { return predictor; };
  SamplerParts parts{.predictor = {.model = token_model(kFlow, 0.0), .rule = std::make_shared<Fading>(begun)},
                     .schedule = test::schedule_of(kFlow, 4),
                     .solver = std::make_shared<Euler>()};
  const SampleRequest request{.prompt = prompt_of(1.0), .noise = test::latents(), .keep_trajectory = true};
  const SampleResult plain = Sampler(parts).sample(request);
  parts.step_methods = {std::make_shared<Reflect>("same", same, same, ReflectOptions{})};
  const SampleResult reflected = Sampler(parts).sample(request);
  // The last step is never reflected, so it is the plain one's displacement if the state is.
  CHECK(test::relative_error(reflected.trajectory[4] - reflected.trajectory[3],
                             plain.trajectory[4] - plain.trajectory[3]) < 1e-12);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
