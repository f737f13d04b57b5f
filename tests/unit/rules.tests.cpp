// Guidance rules as functions of tensors: each against the algebra that defines it, in float64. What needs
// more than algebra, FDG's bands for instance, is compared with diffusers in parity/guiders.tests.cpp.
#include <glint/guidance/apg.hpp>
#include <glint/guidance/autoguidance.hpp>
#include <glint/guidance/cfg_schedule.hpp>
#include <glint/guidance/cfg_zero_star.hpp>
#include <glint/guidance/core2.hpp>
#include <glint/guidance/fdg.hpp>
#include <glint/guidance/filters.hpp>
#include <glint/guidance/mambo_g.hpp>
#include <glint/guidance/perturbation.hpp>
#include <glint/guidance/tcfg.hpp>
#include <glint/guidance/tdg.hpp>
#include <glint/sampling/predictor.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/errors.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

#ifndef GLINT_CORE_ONLY
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/stack.h>
#endif

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;
using test::failure;
using test::relative_error;

// Sums of 256 products in float64 are good to some 1e-14; conversions to x0 and back divide by sigma once.
constexpr double kExact = 1e-12;

const at::Tensor c = test::latents(2, 1), u = test::latents(2, 2), k = test::latents(2, 3),
                 x = test::latents(2, 4);
const Prompt kPrompt = test::prompt_of();

at::Tensor combine(const GuidanceRule& rule, BranchOutputs outputs = {c, u, k},
                   StepPosition position = {3, 10}, GuidanceState* state = nullptr,
                   Parameterization p = Parameterization::Velocity) {
  const Level level{600, 0.4, 0.6};
  const BranchSet set = rule.branches(position);
  if (!set.cond) outputs.cond = at::Tensor();
  if (!set.uncond) outputs.uncond = at::Tensor();
  if (!set.weak) outputs.weak = at::Tensor();
  return rule.combine(
      outputs, {.position = position, .x = x, .level = level, .parameterization = p, .prompt = kPrompt},
      state);
}

at::Tensor cfg(double w, const at::Tensor& cond = c, const at::Tensor& uncond = u) {
  return uncond + w * (cond - uncond);
}

TEST_CASE("A list of scales is CFG at each of them", "[unit]") {
  const CfgSchedule rule({.scales = "7.5x2+1+4x3"});
  for (const auto& [step, w] : {std::pair{0, 7.5}, {1, 7.5}, {2, 1.0}, {3, 4.0}, {9, 4.0}}) {
    CAPTURE(step);
    CHECK(relative_error(combine(rule, {c, u, {}}, {step, 10}), cfg(w)) < kExact);
  }
  CHECK_FALSE(rule.branches({2, 10}).uncond);
  for (const char* bad : {"", "a", "3x", "3x0", "3x1.5", "3+", "nan", "3x2x2"})
    CHECK_THAT(failure([&] { CfgSchedule({.scales = bad}); }), Contains("cfg-schedule.scales: expected"));
}

TEST_CASE("CFG-Zero* is CFG where the unconditional prediction already fits", "[unit]") {
  // <u', c> = |u'|^2 holds for the projection of c on u.
  const at::Tensor fit = per_sample::scaled(u, per_sample::dot(u, c) / per_sample::dot(u, u));
  const CfgZeroStar rule({.scale = 4.0});
  CHECK(relative_error(combine(rule, {c, fit, {}}), cfg(4.0, c, fit)) < 1e-9);  // |u|^2 + 1e-8
  // Its result does not depend on the length of u.
  CHECK(relative_error(combine(rule, {c, 3.0 * u, {}}), combine(rule, {c, u, {}})) < 1e-9);
  CHECK(combine(rule, {c, u, {}}, {0, 10}).abs().max().item<double>() == 0.0);
  CHECK_FALSE(rule.branches({0, 10}).uncond);
  ModelInfo model{.name = "net", .parameterization = Parameterization::Epsilon};
  CHECK_THAT(failure([&] { rule.validate(model); }), Contains("expected 0 for model 'net'"));
  model.parameterization = Parameterization::Velocity;
  CHECK_NOTHROW(rule.validate(model));
}

TEST_CASE("APG without its parts is CFG, in either space and form", "[unit]") {
  for (ApgSpace space : {ApgSpace::X0, ApgSpace::Raw})
    for (ApgForm form : {ApgForm::Paper, ApgForm::Diffusers})
      for (Parameterization p : {Parameterization::Velocity, Parameterization::X0}) {
        const Apg rule({.scale = 5.0, .threshold = 0.0, .space = space, .form = form});
        CHECK(relative_error(combine(rule, {c, u, {}}, {}, rule.begin().get(), p), cfg(5.0)) < kExact);
      }
}

TEST_CASE("APG's update is orthogonal to the prediction at eta 0, and not longer than its threshold",
          "[unit]") {
  for (double threshold : {0.0, 2.5}) {
    const Apg rule({.scale = 2.0, .eta = 0.0, .threshold = threshold, .space = ApgSpace::Raw});
    const at::Tensor n = combine(rule, {c, u, {}}, {}, rule.begin().get()) - c;
    CHECK(per_sample::dot(n, c).abs().max().item<double>() < 1e-10 * 256);
    if (threshold > 0.0) CHECK(per_sample::norm(n).max().item<double>() <= threshold * (1.0 + kExact));
  }
}

TEST_CASE("APG's momentum adds the last difference, and a new run starts without", "[unit]") {
  const Apg rule({.scale = 2.0, .threshold = 0.0, .momentum = -0.5, .space = ApgSpace::Raw});
  const auto state = rule.begin();
  CHECK(relative_error(combine(rule, {c, u, {}}, {}, state.get()), c + (c - u)) < kExact);
  CHECK(relative_error(combine(rule, {c, u, {}}, {}, state.get()), c + 0.5 * (c - u)) < kExact);
  CHECK(relative_error(combine(rule, {c, u, {}}, {}, rule.begin().get()), c + (c - u)) < kExact);
}

TEST_CASE("APG's warm-up is CFG whose differences the momentum remembers", "[unit]") {
  for (ApgSpace space : {ApgSpace::Raw, ApgSpace::X0}) {
    const Apg mix({.scale = 10.0,
                   .eta = 0.0,
                   .threshold = 10.0,
                   .momentum = -0.5,
                   .warmup_steps = 2,
                   .warmup_scale = 3.5,
                   .space = space});
    const Apg whole({.scale = 10.0, .eta = 0.0, .threshold = 10.0, .momentum = -0.5, .space = space});
    const auto state = mix.begin(), reference = whole.begin(), fresh = whole.begin();
    for (int step : {0, 1}) {
      CHECK(relative_error(combine(mix, {c, u, {}}, {step, 10}, state.get()), cfg(3.5)) < kExact);
      combine(whole, {c, u, {}}, {step, 10}, reference.get());
    }
    const at::Tensor after = combine(mix, {c, k, {}}, {2, 10}, state.get());
    CHECK(at::equal(after, combine(whole, {c, k, {}}, {2, 10}, reference.get())));
    CHECK(relative_error(after, combine(whole, {c, k, {}}, {2, 10}, fresh.get())) > 1e-3);
  }
}

TEST_CASE("MAMBO-G's scale falls from w to 1 with the relative length of the difference", "[unit]") {
  CHECK(relative_error(combine(MamboG({.scale = 6.0, .alpha = 0.0}), {c, u, {}}), cfg(6.0)) < kExact);
  const at::Tensor share = per_sample::norm(c - u) / per_sample::norm(u);
  const at::Tensor w = (share * -2.0).exp() * 5.0 + 1.0;
  CHECK(relative_error(combine(MamboG({.scale = 6.0, .alpha = 2.0}), {c, u, {}}),
                       u + per_sample::scaled(c - u, w)) < kExact);
}

#ifndef GLINT_CORE_ONLY  // the light core has no SVD to compare with
TEST_CASE("TCFG projects the unconditional prediction as a dense SVD does", "[unit]") {
  for (const at::Tensor& uncond : {u, c * 0.3 + u * 0.1, u - c}) {
    const at::Tensor rows = at::stack({c.flatten(1), uncond.flatten(1)}, 1);  // [B,2,D]
    const at::Tensor v1 = std::get<2>(at::linalg_svd(rows, false)).select(1, 0);
    const at::Tensor damped =
        per_sample::scaled(v1, per_sample::dot(uncond.flatten(1), v1)).reshape(c.sizes());
    CHECK(relative_error(combine(Tcfg({.scale = 4.0}), {c, uncond, {}}), cfg(4.0, c, damped)) < 1e-11);
  }
}
#endif

TEST_CASE("TCFG of predictions along one line is CFG", "[unit]") {
  CHECK(relative_error(combine(Tcfg({.scale = 4.0}), {c, 0.7 * c, {}}), cfg(4.0, c, 0.7 * c)) < kExact);
  const at::Tensor zero = at::zeros_like(c);  // both singular values zero: plain CFG, and finite
  CHECK(relative_error(combine(Tcfg({.scale = 4.0}), {c, zero, {}}), cfg(4.0, c, zero)) < kExact);
}

TEST_CASE("FDG with equal scales is CFG; a constant difference has low frequencies only", "[unit]") {
  CHECK(relative_error(combine(Fdg({.scale = 3.0, .low_scale = 3.0}), {c, u, {}}), cfg(3.0)) < kExact);
  const at::Tensor shifted = u + 1.5;
  CHECK(relative_error(combine(Fdg({.scale = 9.0, .low_scale = 2.0}), {shifted, u, {}}), u + 3.0) < kExact);
  // Odd and tiny sides, and frames.
  using Sizes = std::vector<int64_t>;
  for (const Sizes& sizes : {Sizes{2, 4, 7, 5}, Sizes{1, 2, 3, 9, 4}, Sizes{1, 1, 1, 2}}) {
    const at::Tensor a = NoiseStream(1, 1).normal(sizes, at::kDouble)[0],
                     b = NoiseStream(2, 1).normal(sizes, at::kDouble)[0];
    CHECK(relative_error(
              Fdg({.scale = 3.0, .low_scale = 3.0})
                  .combine({a, b, {}},
                           {.position = {}, .x = a, .level = {}, .parameterization = {}, .prompt = kPrompt},
                           nullptr),
              cfg(3.0, a, b)) < kExact);
  }
}

TEST_CASE("FDG's parallel weight is the share kept of what lies along the prediction", "[unit]") {
  // Half of the prediction lies along it in both bands, from which equal scales rebuild it.
  for (double parallel : {0.0, 0.3, 1.0}) {
    const Fdg rule({.scale = 3.0, .low_scale = 3.0, .parallel = parallel});
    CHECK(relative_error(combine(rule, {c, 0.5 * c, {}}), (0.5 + 3.0 * parallel * 0.5) * c) < kExact);
  }
  // A constant prediction is all low band: the weight acts on the low scale alone.
  const at::Tensor flat = at::full_like(c, 2.0), half = at::full_like(c, 1.0);
  const Fdg rule({.scale = 9.0, .low_scale = 4.0, .parallel = 0.25});
  CHECK(relative_error(combine(rule, {flat, half, {}}), at::full_like(c, 1.0 + 4.0 * 0.25)) < kExact);
}

TEST_CASE("TDG is CFG at w gamma where the degraded prompt changes nothing", "[unit]") {
  const Tdg rule({.scale = 5.5});
  CHECK(relative_error(combine(rule, {c, u, c}), cfg(9.9)) < kExact);
  CHECK(relative_error(combine(rule, {c, u, u}), cfg(9.9)) < kExact);
  // The formula of the paper, value by value: w gamma = 9.9, beta = 2.6.
  const at::Tensor expected = at::empty_like(c);
  const int64_t values = c[0].numel();
  for (int64_t sample = 0; sample < c.size(0); ++sample) {
    const auto row = [&](const at::Tensor& t) { return t.data_ptr<double>() + sample * values; };
    const double *cond = row(c), *null = row(u), *weak = row(k);
    double to_null = 0.0, to_weak = 0.0;
    for (int64_t i = 0; i < values; ++i) {
      to_null += (cond[i] - null[i]) * (cond[i] - null[i]);
      to_weak += (cond[i] - weak[i]) * (cond[i] - weak[i]);
    }
    const double r = std::sqrt(to_null / to_weak);
    for (int64_t i = 0; i < values; ++i)
      row(expected)[i] = r * (cond[i] - weak[i]) * 9.9 / 3.6 + (cond[i] - null[i]) * 9.9 * 2.6 / 3.6 +
                         (weak[i] + null[i]) / 2.0;
  }
  CHECK(relative_error(combine(rule), expected) < kExact);
}

TEST_CASE("TDG's degraded prompt has half of its tokens from the negative prompt", "[unit]") {
  const Prompt prompt{{.tokens = NoiseStream(1, 1).normal({7, 6}), .pooled = NoiseStream(3, 1).normal({9})},
                      {.tokens = NoiseStream(2, 1).normal({7, 6}), .pooled = NoiseStream(4, 1).normal({9})}};
  // 1 where the values are equal, else 0.
  const auto matches = [](const at::Tensor& a, const at::Tensor& b) {
    return a.sub(b).abs().le(0.0).to(at::kDouble);
  };
  const auto replaced = [&](TdgDegrade degrade, int64_t dim, int seed) {
    const at::Tensor tokens = Tdg::degraded(prompt, {.degrade = degrade, .seed = seed}).tokens;
    const int64_t other = 3 - dim;
    const at::Tensor uncond = matches(tokens, prompt.uncond.tokens).mean(other).ge(1.0).to(at::kDouble),
                     cond = matches(tokens, prompt.cond.tokens).mean(other).ge(1.0).to(at::kDouble);
    CHECK(uncond.add(cond).min().item<double>() == 1.0);
    return uncond.squeeze(0);
  };
  CHECK(replaced(TdgDegrade::Tokens, 1, 0).sum().item<int64_t>() == 3);
  CHECK(replaced(TdgDegrade::Channels, 2, 0).sum().item<int64_t>() == 3);
  CHECK(at::equal(Tdg::degraded(prompt, {}).pooled, prompt.cond.pooled));
  const at::Tensor pooled = Tdg::degraded(prompt, {.degrade = TdgDegrade::Channels}).pooled;
  CHECK(matches(pooled, prompt.uncond.pooled).sum().item<int64_t>() == 4);
  CHECK(matches(pooled, prompt.cond.pooled).sum().item<int64_t>() == 5);
  CHECK(at::equal(replaced(TdgDegrade::Tokens, 1, 5), replaced(TdgDegrade::Tokens, 1, 5)));
  CHECK_FALSE(at::equal(replaced(TdgDegrade::Tokens, 1, 1), replaced(TdgDegrade::Tokens, 1, 4)));
}

TEST_CASE("AutoGuidance steers from the weak prediction, and evaluates what matters only", "[unit]") {
  CHECK(relative_error(combine(AutoGuidance({}, {.scale = 2.5})), k + 2.5 * (c - k)) < kExact);
  CHECK(relative_error(combine(AutoGuidance({}, {.scale = 2.5, .cfg_scale = 3.0})),
                       k + 2.5 * (cfg(3.0) - k)) < kExact);
  CHECK_FALSE(AutoGuidance({}, {.scale = 2.5}).branches({}).uncond);
  CHECK_FALSE(AutoGuidance({}, {.scale = 1.0, .cfg_scale = 3.0}).branches({}).weak);
  CHECK(relative_error(combine(AutoGuidance({}, {.scale = 1.0, .cfg_scale = 3.0})), cfg(3.0)) < kExact);
}

TEST_CASE("Perturbed guidance adds c - k in its window, whose first step is left out", "[unit]") {
  const Perturbation rule({}, {.scale = 4.0, .perturbation_scale = 2.8});
  const auto perturbed = [&](int n) {
    std::vector<int> steps;
    for (int i = 0; i < n; ++i)
      if (rule.branches({i, n}).weak) steps.push_back(i);
    return steps;
  };
  // The window of SD3's pipeline, 0.01 N < i < 0.2 N, which is not rounded: 5.6 of 28 steps, 2.2 of 11.
  CHECK(perturbed(28) == std::vector{1, 2, 3, 4, 5});
  CHECK(perturbed(11) == std::vector{1, 2});
  CHECK(perturbed(20) == std::vector{1, 2, 3});
  CHECK(relative_error(combine(rule, {c, u, k}, {1, 28}), cfg(4.0) + 2.8 * (c - k)) < kExact);
  CHECK(relative_error(combine(rule, {c, u, k}, {9, 28}), cfg(4.0)) < kExact);
  // PAG's adaptive scale, at the time 600 of these combinations: 2.8 - 0.002 * 400, and never below 0.
  const auto adaptive = [](double a) {
    return combine(Perturbation({}, {.scale = 4.0, .adaptive_scale = a}), {c, u, k}, {1, 28});
  };
  CHECK(relative_error(adaptive(0.002), cfg(4.0) + 2.0 * (c - k)) < kExact);
  CHECK(relative_error(adaptive(0.01), cfg(4.0)) < kExact);
}

TEST_CASE("CoRe2's slow and fast steps, with an identity and an exact weak network", "[unit]") {
  const WeakNetwork identity = [](const at::Tensor& cond, const GuidanceStep&) { return cond; };
  const WeakNetwork exact = [](const at::Tensor&, const GuidanceStep&) { return cfg(5.0); };
  const WeakNetwork any = [](const at::Tensor&, const GuidanceStep&) { return k; };
  const auto slow = [](const WeakNetwork& r, double g) {
    return combine(Core2(r, {.gap_scale = g, .slow_steps = 10, .scale = 5.0}));
  };
  const auto fast = [](const WeakNetwork& r) { return combine(Core2(r, {.slow_steps = 0})); };
  CHECK(relative_error(slow(any, 1.0), cfg(5.0)) < kExact);    // g = 1 is CFG for any network
  CHECK(relative_error(slow(any, 0.0), fast(any)) < kExact);   // g = 0 is the fast step
  CHECK(relative_error(slow(exact, 1.7), cfg(5.0)) < kExact);  // an exact network: CFG for every g
  CHECK(relative_error(slow(identity, 1.5), cfg(1.0 + 1.5 * 4.0)) <
        kExact);  // identity: CFG at 1 + g (w - 1)
  const Core2 switched(any, {.slow_steps = 4});
  CHECK(switched.branches({3, 10}).uncond);
  CHECK_FALSE(switched.branches({4, 10}).uncond);
  CHECK(relative_error(combine(Core2Inverse(exact, 1.5)), c + 1.5 * (cfg(5.0) - c)) < kExact);
}

/// What a predictor with CFG at 4 inside these filters makes of the branches it asks for.
at::Tensor filtered(std::vector<std::shared_ptr<const GuidanceFilter>> filters,
                    StepPosition position = {3, 10}, const Level& level = {600, 0.4, 0.6},
                    double scale = 4.0) {
  const Predictor predictor{.rule = std::make_shared<const Cfg>(scale), .filters = std::move(filters)};
  const BranchSet set = predictor.branches(position);
  return predictor.combine({.cond = set.cond ? c : at::Tensor(), .uncond = set.uncond ? u : at::Tensor()},
                           {.position = position,
                            .x = x,
                            .level = level,
                            .parameterization = Parameterization::Velocity,
                            .prompt = kPrompt},
                           nullptr);
}

TEST_CASE("The interval filter guides inside its steps and noise levels only", "[unit]") {
  const auto interval = [](IntervalOptions options) { return std::make_shared<const Interval>(options); };
  const auto window = interval({.window = {.start = 0.2, .stop = 0.5}});
  CHECK(relative_error(filtered({window}, {4, 10}), cfg(4.0)) < kExact);
  for (int step : {1, 5}) {
    CHECK_FALSE(
        Predictor{.rule = std::make_shared<const Cfg>(4.0), .filters = {window}}.branches({step, 10}).uncond);
    CHECK(at::equal(filtered({window}, {step, 10}), c));
  }
  CHECK(at::equal(filtered({interval({.sigma_min = 2.0})}), c));  // sigma / alpha is 1.5 here
  CHECK(relative_error(filtered({interval({.sigma_max = 1.5})}), cfg(4.0)) < kExact);
  // Pure noise has no finite sigma / alpha; only a limit that was given can leave it out.
  const Level pure{1000, 0.0, 1.0};
  CHECK(relative_error(filtered({interval({})}, {0, 10}, pure), cfg(4.0)) < kExact);
  CHECK(at::equal(filtered({interval({.sigma_max = 1e9})}, {0, 10}, pure), c));
}

TEST_CASE("The rescale and dynamic filters change the guided prediction as their formulas say", "[unit]") {
  const auto rescale = [](double phi) { return std::make_shared<const Rescale>(RescaleOptions{phi}); };
  CHECK(relative_error(filtered({rescale(1.0)}).flatten(1).std(1), c.flatten(1).std(1)) < kExact);
  CHECK(at::equal(filtered({rescale(0.0)}), combine(Cfg(4.0))));

  const auto dynamic = std::make_shared<const Dynamic>(DynamicOptions{.power = 1.0});
  CHECK(at::equal(filtered({dynamic}, {0, 10}), c));
  CHECK(relative_error(filtered({dynamic}, {5, 10}), cfg(1.0 + 3.0 * 0.5)) < kExact);
}

TEST_CASE("Filters of the clean sample change x0 alone, whatever the network predicts", "[unit]") {
  const auto made = [](const GuidanceFilter& filter, Parameterization p, const Level& level) {
    CHECK_FALSE(filter.branches({.cond = false}, {}).cond);
    return filter.apply([] { return c; }, {},
                        {.position = {}, .x = x, .level = level, .parameterization = p, .prompt = kPrompt});
  };
  const Level vp{600, 0.8, 0.6}, flow{600, 0.4, 0.6};
  for (const auto& [p, level] : {std::pair{Parameterization::Epsilon, vp},
                                 {Parameterization::V, vp},
                                 {Parameterization::X0, vp},
                                 {Parameterization::Velocity, flow}}) {
    CAPTURE(enum_name(p));
    const at::Tensor before = denoised_from(p, level)(x, c);
    const at::Tensor y = made(Clip({.range = 0.5}), p, level);
    CHECK(relative_error(denoised_from(p, level)(x, y), clipped(before, 0.5)) < kExact);
    const at::Tensor inside = before.abs().le(0.5);
    CHECK(at::equal(y.where(inside, c), c));  // to the bit
    CHECK_FALSE(at::equal(y, c));
    CHECK(at::equal(made(Clip({.range = 1e6}), p, level), c));
    const ThresholdOptions options{.ratio = 0.9, .max = 1.5};
    const at::Tensor scaled = denoised_from(p, level)(x, made(Threshold(options), p, level));
    CHECK(relative_error(scaled, thresholded(before, options)) < kExact);
    if (p != Parameterization::X0) CHECK(at::equal(made(Clip({.range = 0.5}), p, {0, 1.0, 0.0}), c));
  }
}

TEST_CASE("Dynamic thresholding divides each sample by a quantile of its magnitudes", "[unit]") {
  const at::Tensor x0 = at::empty({2, 5}, at::kDouble);
  const double values[] = {-4.0, 0.0, 3.0, -1.0, 2.0, 0.5, -0.25, 0.125, 0.0, -0.75};
  std::copy(std::begin(values), std::end(values), x0.data_ptr<double>());
  const auto is = [&](const ThresholdOptions& options, const std::vector<double>& first) {
    const at::Tensor y = thresholded(x0, options);
    for (size_t i = 0; i < 5; ++i) CHECK(y.data_ptr<double>()[i] == Approx(first[i]).margin(1e-15));
    CHECK(at::equal(y[1], x0[1]));  // below 1 already, so a quantile of less than 1 does not enlarge it
  };
  is({.ratio = 0.5, .max = 10.0}, {-1.0, 0.0, 1.0, -0.5, 1.0});              // s = 2
  is({.ratio = 0.6, .max = 10.0}, {-1.0, 0.0, 1.0, -1.0 / 2.4, 2.0 / 2.4});  // between 2 and 3
  is({.ratio = 1.0, .max = 10.0}, {-1.0, 0.0, 0.75, -0.25, 0.5});
  is({.ratio = 1.0, .max = 2.0}, {-1.0, 0.0, 1.0, -0.5, 1.0});
  is({.ratio = 0.0, .max = 10.0}, {-1.0, 0.0, 1.0, -1.0, 1.0});
  CHECK_THAT(failure([] { Threshold({.ratio = 1.5}); }),
             Contains("threshold.ratio: expected a value in [0, 1]"));
  CHECK_THAT(failure([] { Clip({.range = 0.0}); }), Contains("clip.range: expected a value in"));
}

TEST_CASE("Filters nest in their order, and a rule sees no branch that it did not ask for", "[unit]") {
  const auto dynamic = std::make_shared<const Dynamic>(DynamicOptions{.power = 1.0});
  const auto interval = std::make_shared<const Interval>(IntervalOptions{});
  // At scale 0 the rule asks for the unconditional branch alone; the filters ask for the prompt's too.
  CHECK(relative_error(filtered({interval, dynamic}, {5, 10}, {600, 0.4, 0.6}, 0.0), 0.5 * (c + u)) < kExact);

  const auto late = std::make_shared<const Interval>(IntervalOptions{.window = {.start = 0.5}});
  const auto rescale = std::make_shared<const Rescale>(RescaleOptions{0.4});
  for (int step : {4, 5}) {
    const at::Tensor guided = step == 5 ? cfg(4.0) : c;
    const at::Tensor factor = c.flatten(1).std(1).div(guided.flatten(1).std(1)).mul(0.4).add(0.6);
    CHECK(relative_error(filtered({late, rescale}, {step, 10}), guided * factor.view({2, 1, 1, 1})) < kExact);
  }
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
