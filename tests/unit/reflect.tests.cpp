// The reflection operator: its displacement, its cost, what each predictor is asked, and the predictors it
// refuses.
#include <glint/model/callable_model.hpp>
#include <glint/step/z_sampling.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/errors.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;
using test::failure;
using test::prompt_of;
using test::relative_error;
using test::schedule_of;
using test::token_model;

PredictorChange unchanged() {
  return [](const Predictor& predictor) { return predictor; };
}

// x' of one reflection at step i.
at::Tensor reflected(const StepMethod& method, const Predictor& predictor, const NoiseSchedule& schedule,
                     const at::Tensor& x, int i, const Prompt& prompt = prompt_of()) {
  Run run(schedule, prompt, NoiseStream(0, x.size(0)), nullptr);
  return method.strategy->refine(x, {run, predictor, i});
}

TEST_CASE("One reflection displaces by the step times the gap between the predictors' predictions",
          "[unit]") {
  const at::Tensor x = test::latents();
  const Prompt prompt = prompt_of(0.7, -0.2);
  for (NoiseKind kind : test::kKinds) {
    const auto strategy = z_sampling({.guidance_forward = 5.5, .guidance_inverse = 0.0});
    const NoiseSchedule grid = schedule_of(kind, 10);
    const Predictor predictor{.model = token_model(kind), .rule = std::make_shared<Cfg>(1.0)};
    const auto predicted = [](const at::Tensor& y, double token) { return y * 0.3 + token; };
    for (int i : {0, 3, 8}) {
      const Level &from = grid.level(i), &to = grid.level(i + 1);
      const at::Tensor strong = predicted(x, -0.2 + 5.5 * 0.9);
      const at::Tensor weak = predicted(move(x, strong, test::output_of(kind), from, to), -0.2);
      // VP: sqrt(a_i) (s_i - s_{i+1}) gap with s = sigma/alpha; flow: (sigma_i - sigma_{i+1}) gap.
      const double step =
          kind == NoiseKind::Flow ? from.sigma - to.sigma : from.alpha * (from.ratio() - to.ratio());
      CAPTURE(enum_name(kind), i);
      CHECK(relative_error(reflected(strategy, predictor, grid, x, i, prompt) - x, step * (weak - strong)) <
            1e-12);
    }
  }
}

TEST_CASE("Direct forms weigh the gap by the steps they pass over, also from pure noise", "[unit]") {
  const Predictor predictor{.model = token_model(NoiseKind::VariancePreserving),
                            .rule = std::make_shared<Cfg>(1.0)};
  for (bool zero_terminal : {false, true}) {
    const NoiseSchedule grid = Ddim().schedule(VpTraining{.zero_terminal_snr = zero_terminal},
                                               {.steps = 5, .spacing = Spacing::Trailing});
    REQUIRE((grid.level(0).alpha == 0.0) == zero_terminal);
    const auto length = [&](int i) { return grid.level(i).ratio() - grid.level(i + 1).ratio(); };
    for (int span : {1, 3}) {
      const auto strategy =
          z_sampling({.reflect = {.span = span, .merge = 0.75, .repeats = 2, .form = Form::Direct}});
      for (int i : {0, 1, 3}) {
        CAPTURE(zero_terminal, span, i);
        double passed = 0.0;
        for (int j = i; j < std::min(i + span, 4); ++j) passed += length(j);
        // All other steps are nothing beside one of infinite length.
        const double expected = 1.5 * (zero_terminal && i == 0 ? 1.0 : passed / length(i));
        CHECK(strategy.term->gaps(grid, i, predictor).at(0).weight == Approx(expected).epsilon(1e-12));
      }
    }
  }
}

TEST_CASE("A same-field reflection of the flow v = a x multiplies x by 1 - a^2 h^2", "[unit]") {
  const double a = 0.8;
  const Predictor predictor{.model = token_model(NoiseKind::Flow, a), .rule = std::make_shared<Cfg>(1.0)};
  const at::Tensor x = test::latents();
  const StepMethod same = reflection("same", unchanged(), unchanged(), {});
  for (int steps : {4, 10}) {
    const NoiseSchedule grid = schedule_of(NoiseKind::Flow, steps);
    for (int i = 0; i + 1 < steps; ++i) {
      const double h = grid.level(i).sigma - grid.level(i + 1).sigma;
      const at::Tensor expected = x * (1.0 - a * a * h * h);
      CHECK(relative_error(reflected(same, predictor, grid, x, i, prompt_of(0.0)), expected) <
            1e-15);  // four roundings
    }
  }
}

TEST_CASE("Merge keeps a share of the displacement, and repeats reflect again", "[unit]") {
  const NoiseSchedule grid = schedule_of(NoiseKind::Flow, 5);
  const Predictor predictor{.model = token_model(NoiseKind::Flow), .rule = std::make_shared<Cfg>(3.0)};
  const at::Tensor x = test::latents();
  const auto z = [&](ReflectOptions o, const at::Tensor& at) {
    return reflected(z_sampling({.guidance_inverse = 0.0, .reflect = o}), predictor, grid, at, 1);
  };
  const at::Tensor once = z({}, x);
  CHECK(relative_error(z({.merge = 0.4}, x), x + 0.4 * (once - x)) < 1e-15);
  CHECK(relative_error(z({.merge = -1.0}, x), x - (once - x)) < 1e-15);
  CHECK(at::equal(z({.repeats = 2}, x), z({}, once)));
}

TEST_CASE("Near the end the span is shortened, so that the terminal level is never left", "[unit]") {
  constexpr int kSteps = 6;
  for (NoiseKind kind : test::kKinds) {
    const NoiseSchedule grid = schedule_of(kind, kSteps);
    const Predictor predictor{.model = token_model(kind), .rule = std::make_shared<Cfg>(2.0)};
    const at::Tensor x = test::latents();
    const auto span = [&](int k, int i) {
      return reflected(z_sampling({.guidance_inverse = 0.0, .reflect = {.span = k}}), predictor, grid, x, i);
    };
    CHECK(at::equal(span(5, 2), span(3, 2)));
    CHECK(at::equal(span(3, 4), span(1, 4)));
    CHECK_FALSE(at::equal(span(3, 2), span(2, 2)));
  }
}

TEST_CASE("A reflection costs the rows its formula says", "[unit]") {
  constexpr int kSteps = 5, kBatch = 3;
  const auto rows_of = [](double g) { return g == 0.0 || g == 1.0 ? 1 : 2; };
  const NoiseSchedule grid = schedule_of(NoiseKind::Flow, kSteps);
  const at::Tensor noise = test::latents(kBatch);
  for (double g1 : {0.0, 1.0, 2.0}) {
    for (double g2 : {0.0, 1.0, 2.0}) {
      for (int repeats : {1, 2}) {
        for (int span : {1, 2}) {
          for (int iterations : {0, 1, 3}) {  // 0: not a fixed point
            InvertOptions invert;
            if (iterations > 0) invert = {.evaluation = Evaluation::FixedPoint, .iterations = iterations};
            const auto z = z_sampling(
                {.guidance_inverse = g2, .reflect = {.span = span, .repeats = repeats, .invert = invert}});
            const SampleResult result =
                test::sampler_of(token_model(NoiseKind::Flow), grid, std::make_shared<Euler>(), g1, {z})
                    .sample({.prompt = prompt_of(), .noise = noise});
            // Active are all steps but the last; the last of them has only one step before the end, whatever
            // the span.
            const int spans = (kSteps - 1) * span - (span - 1);
            const int inversions = std::max(iterations, 1);
            const int64_t calls = repeats * spans * (1 + inversions);
            const int64_t rows = repeats * spans * (rows_of(g1) + inversions * rows_of(g2));
            CAPTURE(g1, g2, repeats, span, iterations);
            CHECK(result.by_stage.at("z-sampling").calls == calls);
            CHECK(result.by_stage.at("z-sampling").rows == kBatch * rows);
            CHECK(result.usage.calls == kSteps + calls);
            CHECK(result.usage.rows == kBatch * (kSteps * rows_of(g1) + rows));
          }
        }
      }
    }
  }
}

TEST_CASE("Z-Sampling of a guidance-distilled model sets the embedded scale of each predictor", "[unit]") {
  std::vector<double> scales;
  std::vector<size_t> branches;
  const auto model = std::make_shared<CallableModel>(ModelInfo{.parameterization = Parameterization::Velocity,
                                                               .noise_kind = NoiseKind::Flow,
                                                               .uncond_branch = false,
                                                               .embedded_guidance = true},
                                                     [&](const ModelInput& in) {
                                                       scales.push_back(in.embedded_guidance.value_or(-1.0));
                                                       branches.push_back(in.branches.size());
                                                       return std::vector<at::Tensor>{in.x};
                                                     });
  const auto run = [&](ZSamplingOptions options) {
    scales.clear();
    const Sampler sampler(
        {.predictor = {.model = model, .rule = std::make_shared<Cfg>(1.0), .embedded_guidance = 3.5},
         .schedule = schedule_of(NoiseKind::Flow, 3),
         .solver = std::make_shared<FlowEuler>(),
         .step_methods = {z_sampling(options)}});
    sampler.sample({.prompt = prompt_of(), .noise = test::latents()});
    return scales;
  };
  CHECK(run({.guidance_forward = 5.5, .guidance_inverse = 0.0}) ==
        std::vector{5.5, 0.0, 3.5, 5.5, 0.0, 3.5, 3.5});
  CHECK(run({.guidance_inverse = 1.5}) == std::vector{3.5, 1.5, 3.5, 3.5, 1.5, 3.5, 3.5});
  CHECK(branches == std::vector<size_t>(branches.size(), 1));
}

TEST_CASE("Each predictor is asked with its own adapters", "[unit]") {
  std::vector<double> scales;
  const auto model = std::make_shared<CallableModel>(ModelInfo{.parameterization = Parameterization::Velocity,
                                                               .noise_kind = NoiseKind::Flow,
                                                               .adapters = {"style"}},
                                                     [&](const ModelInput& in) {
                                                       scales.push_back(in.adapters.at("style"));
                                                       return std::vector<at::Tensor>{in.x};
                                                     });
  const auto at_scale = [](double scale) {
    return [scale](Predictor predictor) {
      predictor.adapters["style"] = scale;
      return predictor;
    };
  };
  const Sampler sampler(
      {.predictor = {.model = model, .rule = std::make_shared<Cfg>(1.0), .adapters = {{"style", 0.8}}},
       .schedule = schedule_of(NoiseKind::Flow, 2),
       .solver = std::make_shared<FlowEuler>(),
       .step_methods = {std::make_shared<Reflect>("gap", at_scale(1.5), at_scale(-1.5), ReflectOptions{})}});
  sampler.sample({.prompt = prompt_of(), .noise = test::latents()});
  CHECK(scales == std::vector{1.5, -1.5, 0.8, 0.8});
}

TEST_CASE("Legs that cannot work together are refused with the reason", "[unit]") {
  const auto model = [](ModelInfo info) {
    return std::make_shared<CallableModel>(std::move(info),
                                           [](const ModelInput& in) { return std::vector{in.x}; });
  };
  const ModelInfo base{.name = "base",
                       .parameterization = Parameterization::Velocity,
                       .noise_kind = NoiseKind::Flow,
                       .latent_shape = {4, -1, -1}};
  const auto refusal = [&](PredictorChange weak, ReflectOptions options = {}) {
    return failure([&] {
      Sampler({.predictor = {.model = model(base), .rule = std::make_shared<Cfg>(1.0)},
               .schedule = schedule_of(NoiseKind::Flow, 4),
               .solver = std::make_shared<Euler>(),
               .step_methods = {std::make_shared<Reflect>("gap", unchanged(), std::move(weak), options)}});
    });
  };
  const auto with_model = [&](auto change) {
    ModelInfo info = base;
    info.name = "other";
    change(info);
    return [other = model(info)](Predictor predictor) {
      predictor.model = other;
      return predictor;
    };
  };
  CHECK(refusal(unchanged()) == "no error");
  CHECK(refusal(with_model([](ModelInfo&) {})) == "no error");
  CHECK_THAT(refusal(with_model([](ModelInfo& i) { i.parameterization = Parameterization::V; })),
             Contains("InvalidArgument: gap, weak predictor: model 'other' predicts v") &&
                 Contains("'base' velocity") && Contains("must agree"));
  CHECK_THAT(refusal(with_model([](ModelInfo& i) { i.noise_kind = NoiseKind::VariancePreserving; })),
             Contains("'other' predicts velocity of vp noise"));
  CHECK_THAT(
      refusal(with_model([](ModelInfo& i) {
        i.latent_shape = {16, -1, -1};
      })),
      Contains("gap, weak predictor: model 'other' works on latents [16,-1,-1]") && Contains("[4,-1,-1]"));
  CHECK_THAT(refusal([](Predictor predictor) { return predictor.rule = nullptr, predictor; }),
             Contains("gap, weak predictor: rule: expected"));
  CHECK_THAT(refusal([](Predictor predictor) { return predictor.model = nullptr, predictor; }),
             Contains("gap, weak predictor: model: expected"));
  CHECK_THAT(refusal([](Predictor predictor) {
               return predictor.adapters = {{"style", 1.0}}, predictor;
             }),
             Contains("gap, weak predictor: adapters: model 'base' has no adapter 'style'"));
  CHECK_THAT(refusal(unchanged(), {.span = 4}),
             Contains("gap.span: expected fewer than the run's 4 steps, got 4"));
  // Z-Sampling inverts with the negative prompt, which a model without one cannot do.
  ModelInfo distilled = base;
  distilled.uncond_branch = false;
  CHECK_THAT(failure([&] {
               test::sampler_of(model(distilled), schedule_of(NoiseKind::Flow, 4), std::make_shared<Euler>(),
                                1.0, {z_sampling()});
             }),
             Contains("z-sampling, weak predictor: rule: model 'base' has no unconditional branch"));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
