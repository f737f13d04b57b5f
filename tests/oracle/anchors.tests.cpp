// Published-style anchors of the reflection operator on a three-Gaussian model: how far a same-field zigzag
// drifts from plain sampling, how well Z-Sampling matches CFG at its effective scale, and what each
// compatibility switch does. The values were computed independently in float64 NumPy, from 2000 other starts;
// 15 % covers both samplings.
#include <glint/core/schedule_flow.hpp>
#include <glint/step/z_sampling.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/mixtures.hpp"
#include "tests/support/report.hpp"
#include "tests/support/samplers.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

using test::rms_distance;

constexpr double kTolerance = 0.15;
constexpr int64_t kStarts = 500;

at::Tensor starts() { return NoiseStream(11, kStarts).normal({2, 1}, at::kDouble); }

// t = linspace(999, 1, N + 1), log alpha_bar interpolated linearly between training steps.
NoiseSchedule vp_anchor_grid(int steps) {
  const std::vector<double> bars = alpha_bars({});
  std::vector<Level> levels;
  for (int i = 0; i <= steps; ++i) {
    const double t = 999.0 + (1.0 - 999.0) * i / steps;
    const auto low = std::min(static_cast<size_t>(t), bars.size() - 2);
    const double share = t - static_cast<double>(low);
    const double bar = std::exp((1.0 - share) * std::log(bars[low]) + share * std::log(bars[low + 1]));
    levels.push_back({t, std::sqrt(bar), std::sqrt(1.0 - bar)});
  }
  return {NoiseKind::VariancePreserving, std::move(levels)};
}

struct Anchor {
  std::shared_ptr<const GaussianMixtureModel> model;
  NoiseSchedule grid;
  at::Tensor x;

  at::Tensor sample(double guidance, std::vector<StepMethod> strategies = {}) const {
    return test::sampler_of(model, grid, std::make_shared<Euler>(), guidance, std::move(strategies))
        .sample({.prompt = {model->condition({0}), model->condition()}, .noise = x})
        .latents;
  }
};

Anchor vp_anchor(int steps) {
  return {test::three_gaussians(Parameterization::Epsilon, NoiseKind::VariancePreserving),
          vp_anchor_grid(steps), starts()};
}

Anchor flow_anchor(int steps, double shift) {
  return {test::three_gaussians(Parameterization::Velocity, NoiseKind::Flow),
          flow_schedule({.shift = shift}, {.steps = steps}), starts()};
}

StepMethod zigzag(double forward, double inverse, InvertOptions invert, int span = 1,
                  StepWindow window = {}) {
  return z_sampling({.guidance_forward = forward,
                     .guidance_inverse = inverse,
                     .reflect = {.span = span, .window = window, .invert = invert}});
}

constexpr InvertOptions kDestination{};
constexpr InvertOptions kSource{.evaluation = Evaluation::Source};
constexpr InvertOptions kShifted{.coefficients = Coefficients::LegacyShifted};
constexpr InvertOptions kUpper{.coefficients = Coefficients::LegacyUpper};

double round_trip(const Anchor& a, const InvertOptions& options) {
  const Predictor predictor{.model = a.model, .rule = std::make_shared<Cfg>(1.0)};
  const Prompt prompt{a.model->condition({0}), a.model->condition()};
  Run run(a.grid, prompt, NoiseStream(0, 1), nullptr);
  at::Tensor y = a.x;
  for (int i = 0; i < a.grid.steps(); ++i) y = denoise(run, predictor, y, i, i + 1);
  for (int i = a.grid.steps(); i > 0; --i) y = invert(run, predictor, y, i, i - 1, options);
  return rms_distance(y, a.x);
}

void compare(const char* what, int steps, double measured, double anchor) {
  test::report("  N={:<4} {:28} {:.4f} (anchor {:.4f})", steps, what, measured, anchor);
  CAPTURE(what, steps, measured, anchor);
  CHECK(measured == Approx(anchor).epsilon(kTolerance));
}

TEST_CASE("A same-field zigzag drifts from plain sampling as tabulated, VP", "[oracle]") {
  struct Row {
    int steps;
    double destination, source, shifted, trip_destination, trip_source;
  };
  constexpr Row kTable[] = {{25, .1109, .0416, .1878, .3613, .2905},
                            {50, .0639, .0308, .1055, .1852, .1606},
                            {100, .0344, .0203, .0555, .0936, .0851},
                            {200, .0178, .0124, .0284, .0470, .0439},
                            {400, .0091, .0071, .0144, .0236, .0223}};
  test::report("same-field zigzag and round trip, VP");
  for (const Row& row : kTable) {
    const Anchor a = vp_anchor(row.steps);
    const at::Tensor plain = a.sample(1.0);
    const auto drift = [&](const InvertOptions& o) {
      return rms_distance(a.sample(1.0, {zigzag(1.0, 1.0, o)}), plain);
    };
    compare("destination", row.steps, drift(kDestination), row.destination);
    compare("source", row.steps, drift(kSource), row.source);
    compare("legacy-shifted", row.steps, drift(kShifted), row.shifted);
    compare("round trip, destination", row.steps, round_trip(a, kDestination), row.trip_destination);
    compare("round trip, source", row.steps, round_trip(a, kSource), row.trip_source);
  }
}

TEST_CASE("Z-Sampling approaches CFG at 2 g1 - g2 as tabulated", "[oracle]") {
  struct Row {
    int steps;
    double forward, inverse, destination, source;
  };
  constexpr Row kTable[] = {{50, 1.5, 1.0, .0385, .0273},  {100, 1.5, 1.0, .0208, .0179},
                            {200, 1.5, 1.0, .0109, .0109}, {400, 1.5, 1.0, .0055, .0063},
                            {800, 1.5, 1.0, .0028, .0034}, {50, 2.0, 0.0, .0132, .0483},
                            {100, 2.0, 0.0, .0072, .0301}, {200, 2.0, 0.0, .0038, .0177},
                            {400, 2.0, 0.0, .0019, .0100}, {800, 2.0, 0.0, .0010, .0054}};
  test::report("Z-Sampling against CFG at 2 g1 - g2, VP");
  for (const Row& row : kTable) {
    const Anchor a = vp_anchor(row.steps);
    const at::Tensor effective = a.sample(2.0 * row.forward - row.inverse);
    const auto distance = [&](const InvertOptions& o) {
      return rms_distance(a.sample(row.forward, {zigzag(row.forward, row.inverse, o)}), effective);
    };
    compare(row.inverse == 1.0 ? "(1.5, 1) destination" : "(2, 0) destination", row.steps,
            distance(kDestination), row.destination);
    compare(row.inverse == 1.0 ? "(1.5, 1) source" : "(2, 0) source", row.steps, distance(kSource),
            row.source);
    CHECK(rms_distance(a.sample(row.forward), effective) > (row.inverse == 1.0 ? 0.11 : 0.27));
  }
}

TEST_CASE("A same-field reflection drifts from plain sampling as tabulated, flow", "[oracle]") {
  struct Row {
    double shift;
    int span;
    std::array<double, 5> matched, upper;
  };
  constexpr int kSteps[] = {28, 56, 112, 224, 448};
  constexpr Row kTable[] = {
      {1.0, 1, {.0511, .0256, .0127, .0064, .0032}, {.0801, .0412, .0208, .0105, .0053}},
      {1.0, 2, {.0996, .0507, .0254, .0127, .0063}, {.1273, .0659, .0334, .0168, .0084}},
      {3.0, 1, {.0625, .0351, .0168, .0080, .0039}, {.1490, .0968, .0533, .0277, .0141}},
      {3.0, 2, {.1113, .0689, .0340, .0161, .0078}, {.2504, .1778, .1017, .0536, .0274}}};
  for (const Row& row : kTable) {
    test::report("same-field reflection, flow, shift {}, span {}", row.shift, row.span);
    for (size_t k = 0; k < std::size(kSteps); ++k) {
      const int n = kSteps[k];
      const Anchor a = flow_anchor(n, row.shift);
      const at::Tensor plain = a.sample(1.0);
      // All but the last 1 + K steps; half a step keeps the product with n on the right side of the integer.
      const StepWindow window{.stop = (n - 1.0 - row.span + 0.5) / n};
      const auto drift = [&](const InvertOptions& o) {
        return rms_distance(a.sample(1.0, {zigzag(1.0, 1.0, o, row.span, window)}), plain);
      };
      compare("matched", n, drift(kDestination), row.matched[k]);
      compare("legacy-upper", n, drift(kUpper), row.upper[k]);
    }
  }
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
