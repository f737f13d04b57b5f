// The measured effective guidance scale: of CFG it is the scale, of CFG++ a closed form, and off it costs
// nothing.
#include <glint/guidance/per_sample.hpp>
#include <glint/solver/cfgpp.hpp>
#include <glint/step/z_sampling.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

constexpr int kSteps = 6;

SampleResult measured(NoiseKind kind, std::shared_ptr<const Solver> solver, double scale, bool measure = true,
                      std::vector<StepMethod> strategies = {}, double slope = 0.3) {
  return test::sampler_of(test::token_model(kind, slope), test::schedule_of(kind, kSteps, *solver), solver,
                          scale, std::move(strategies))
      .sample({.prompt = test::prompt_of(), .noise = test::latents(), .effective_guidance = measure});
}

TEST_CASE("CFG measures its own scale and nothing orthogonal", "[property]") {
  for (NoiseKind kind : test::kKinds)
    for (double w : {-1.0, 0.0, 1.0, 3.5}) {
      const EffectiveGuidance g = mean_of(measured(kind, std::make_shared<Euler>(), w).effective_guidance);
      REQUIRE(g.signed_scale.size() == kSteps);
      for (size_t i = 0; i < kSteps; ++i) {
        CHECK(g.signed_scale[i] ==
              Approx(w).margin(1e-9));  // x_{i+1} and x_i are subtracted, so digits cancel
        CHECK(g.unsigned_scale[i] == Approx(std::abs(w)).margin(1e-9));
        CHECK(g.orthogonal[i] == Approx(0.0).margin(1e-9));
      }
      CHECK(g.mean_signed_scale == Approx(w).margin(1e-9));
    }
}

/// CFG, and something at right angles to its difference, `length` times as long.
class Sideways final : public GuidanceRule {
 public:
  Sideways(double scale, double length) : scale_(scale), length_(length) {}
  BranchSet branches(const StepPosition&) const override { return {.cond = true, .uncond = true}; }
  at::Tensor combine(const BranchOutputs& o, const GuidanceStep& step, GuidanceState*) const override {
    const at::Tensor d = o.cond.sub(o.uncond);
    const at::Tensor z =
        step.x.sub(per_sample::scaled(d, per_sample::dot(step.x, d).div(per_sample::dot(d, d))));
    const at::Tensor unit = per_sample::scaled(z, per_sample::norm(d).div(per_sample::norm(z)));
    return at::lerp(o.uncond, o.cond, scale_).add(unit, length_);
  }

 private:
  double scale_, length_;
};

TEST_CASE("What is orthogonal to the difference leaves the scale and is told apart", "[property]") {
  for (NoiseKind kind : test::kKinds)
    for (double length : {0.0, 0.5, 2.0}) {
      const Sampler sampler(
          {.predictor = {.model = test::token_model(kind), .rule = std::make_shared<Sideways>(3.5, length)},
           .schedule = test::schedule_of(kind, kSteps),
           .solver = std::make_shared<Euler>()});
      const EffectiveGuidance g = mean_of(
          sampler.sample({.prompt = test::prompt_of(), .noise = test::latents(), .effective_guidance = true})
              .effective_guidance);
      for (size_t i = 0; i < kSteps; ++i) {
        CHECK(g.signed_scale[i] == Approx(3.5).margin(1e-9));
        CHECK(g.unsigned_scale[i] == Approx(3.5).margin(1e-9));
        CHECK(g.orthogonal[i] == Approx(length).margin(1e-9));
      }
    }
}

TEST_CASE("CFG++ at lambda measures lambda S / (S - S'), and lambda on the last step", "[property]") {
  constexpr double kLambda = 0.4;
  for (NoiseKind kind : test::kKinds) {
    const auto solver = std::make_shared<CfgPlusPlus>();
    const NoiseSchedule grid = test::schedule_of(kind, kSteps, *solver);
    const EffectiveGuidance g = mean_of(measured(kind, solver, kLambda).effective_guidance);
    for (int i = 0; i < kSteps; ++i) {
      const Level &from = grid.level(i), &to = grid.level(i + 1);
      double expected = kLambda * from.ratio() / (from.ratio() - to.ratio());
      if (kind == NoiseKind::Flow)  // from.ratio() is infinite at sigma 1
        expected = kLambda * from.sigma * (1.0 - to.sigma) / (from.sigma - to.sigma);
      CAPTURE(enum_name(kind), i);
      CHECK(g.signed_scale[static_cast<size_t>(i)] == Approx(expected).epsilon(1e-8));
    }
  }
}

TEST_CASE("CFG++ between equal predictions is the plain step of its order", "[property]") {
  for (NoiseKind kind : test::kKinds) {
    const auto run = [&](std::shared_ptr<const Solver> solver) {
      const NoiseSchedule schedule = test::schedule_of(kind, kSteps, *solver);
      return test::sampler_of(test::token_model(kind), schedule, solver, 0.4)
          .sample({.prompt = test::prompt_of(0.5, 0.5), .noise = test::latents()})
          .latents;
    };
    const auto of_order = [](int order) { return std::make_shared<CfgPlusPlus>(CfgPlusPlusOptions{order}); };
    CHECK(test::relative_error(run(of_order(1)), run(std::make_shared<Euler>())) < 1e-12);
    CHECK(test::relative_error(run(of_order(2)), run(std::make_shared<Dpmpp2m>())) < 1e-12);
    CHECK(test::relative_error(run(of_order(1)), run(of_order(2))) > 1e-4);
    const auto fresh = std::make_shared<CfgPlusPlus>(CfgPlusPlusOptions{.eta = 0.7});
    CHECK(test::relative_error(run(fresh), run(std::make_shared<EulerAncestral>(AncestralOptions{0.7}))) <
          1e-12);
  }
}

TEST_CASE("CFG++ of order 2 is its formula, written for data scaled to alpha 1", "[property]") {
  // X' = y + (S'/S) (X - m) + (1 - S'/S) (y - m_prev) h / (2 h_prev), X = x / alpha, S = sigma / alpha, h =
  // log(S / S').
  constexpr double kLambda = 0.4, kSlope = 0.3, kCond = 0.7, kNull = -0.2;
  const NoiseKind kind = NoiseKind::VariancePreserving;
  const auto solver = std::make_shared<CfgPlusPlus>(CfgPlusPlusOptions{2});
  const NoiseSchedule grid = test::schedule_of(kind, kSteps, *solver);
  const SampleResult result =
      test::sampler_of(test::token_model(kind, kSlope), grid, solver, kLambda)
          .sample({.prompt = test::prompt_of(kCond, kNull), .noise = test::latents()});
  at::Tensor x = test::latents().mul(grid.initial_scale()), before;
  double previous = 0.0;
  for (int i = 0; i < kSteps; ++i) {
    const Level &from = grid.level(i), &to = grid.landing(i);
    const at::Tensor scaled = x.div(from.alpha);
    const auto denoised = [&](double token) { return scaled.sub(x.mul(kSlope).add(token), from.ratio()); };
    const at::Tensor m = denoised(kNull), y = denoised(kNull + kLambda * (kCond - kNull));
    const double kept = to.ratio() / from.ratio(), h = -std::log(kept);
    at::Tensor next = y.add(scaled.sub(m), kept);
    if (i > 0 && to.sigma > 0.0) next = next.add(y.sub(before), (1.0 - kept) * h / (2.0 * previous));
    before = m;
    previous = h;
    x = next.mul(to.alpha);
  }
  CHECK(test::relative_error(result.latents, x) < 1e-12);
}

TEST_CASE("Z-Sampling of constant predictions measures g1 + (g1 - g2), without its last step", "[property]") {
  const EffectiveGuidance g = mean_of(measured(NoiseKind::Flow, std::make_shared<Euler>(), 2.0, true,
                                               {z_sampling({.guidance_inverse = 0.5})}, 0.0)
                                          .effective_guidance);
  for (size_t i = 0; i + 1 < kSteps; ++i) CHECK(g.signed_scale[i] == Approx(3.5).epsilon(1e-9));
  CHECK(g.signed_scale.back() == Approx(2.0).epsilon(1e-9));
}

TEST_CASE("Measuring changes no picture and costs two rows a step; not measuring costs none", "[property]") {
  const SampleResult with = measured(NoiseKind::Flow, std::make_shared<Euler>(), 3.0);
  const SampleResult without = measured(NoiseKind::Flow, std::make_shared<Euler>(), 3.0, false);
  CHECK(at::equal(with.latents, without.latents));
  CHECK(with.usage.rows - without.usage.rows == 2 * 2 * kSteps);
  CHECK(without.effective_guidance.empty());
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
