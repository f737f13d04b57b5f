// Noise grids: facts of the training tables and spacings that are known by heart, and every argument that is
// refused.
#include <glint/core/parameterization.hpp>
#include <glint/core/schedule_flow.hpp>
#include <glint/solver/lcm.hpp>
#include <glint/solver/unipc.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/errors.hpp"

#include <limits>

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;
using test::failure;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<double> times(const NoiseSchedule& schedule) {
  std::vector<double> all;
  for (int i = 0; i < schedule.steps(); ++i) all.push_back(schedule.level(i).model_time);
  return all;
}

std::vector<double> vp_times(Spacing spacing, int steps) {
  return times(Ddim().schedule(VpTraining{}, {.steps = steps, .spacing = spacing}));
}

TEST_CASE("alpha_bar starts at 1 - beta_start and falls to the share of signal Stable Diffusion ends with",
          "[unit]") {
  const std::vector<double> bars = alpha_bars({});
  REQUIRE(bars.size() == 1000);
  CHECK(bars.front() == Approx(1.0 - 0.00085).epsilon(1e-7));  // float32
  CHECK(bars.back() == Approx(0.0046601).epsilon(1e-4));       // five digits are commonly quoted
  CHECK(std::is_sorted(bars.rbegin(), bars.rend(), std::less_equal<>()));
  // Linear betas: the product of (1 - beta) is exp(-sum beta) to second order in beta, sum = 500 (b0 + b1).
  const std::vector<double> linear =
      alpha_bars({.betas = Betas::Linear, .beta_start = 1e-4, .beta_end = 0.02});
  CHECK(std::log(linear.back()) == Approx(-10.05).epsilon(0.01));
  // Squared cosine: alpha_bar(t) = cos^2((t/T + 0.008) / 1.008 * pi/2) over its value at 0, here at t = T/2.
  const std::vector<double> cosine = alpha_bars({.betas = Betas::SquaredCosine});
  const auto f = [](double t) { return std::pow(std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2.0), 2); };
  CHECK(cosine[499] == Approx(f(0.5) / f(0.0)).epsilon(1e-5));  // 500 float32 betas
}

TEST_CASE("Zero terminal SNR removes the last signal and leaves the first level alone", "[unit]") {
  const std::vector<double> plain = alpha_bars({}), zero = alpha_bars({.zero_terminal_snr = true});
  CHECK(zero.back() == 0.0);
  CHECK(zero.front() == Approx(plain.front()).epsilon(1e-6));  // a few roundings of float32
  for (size_t i = 1; i < zero.size(); ++i) REQUIRE(zero[i] < zero[i - 1]);
}

TEST_CASE("Spacings take the timesteps the field knows", "[unit]") {
  CHECK(vp_times(Spacing::Trailing, 4) == std::vector<double>{999, 749, 499, 249});
  CHECK(vp_times(Spacing::Leading, 4) == std::vector<double>{751, 501, 251, 1});
  CHECK(vp_times(Spacing::Linspace, 4) == std::vector<double>{999, 666, 333, 0});
  CHECK(vp_times(Spacing::Trailing, 1) == std::vector<double>{999});
  CHECK(times(Lcm().schedule(VpTraining{}, {.steps = 4})) == std::vector<double>{999, 759, 499, 259});
  const std::vector<double> sdxl = vp_times(Spacing::Leading, 50);
  for (size_t i = 0; i < 50; ++i) REQUIRE(sdxl[i] == 981.0 - 20.0 * static_cast<double>(i));
}

TEST_CASE("SDXL's inversion coefficients are those of the released Z-Sampling, matched and shifted",
          "[unit]") {
  const NoiseSchedule grid = Ddim().schedule(VpTraining{}, {.steps = 50});
  struct Row {
    int i;
    double x, eps, shifted_x, shifted_eps;
  };
  for (const Row& row : {Row{0, .8906, .1098, .8937, .1068}, Row{25, .9559, .0534, .9579, .0520},
                         Row{47, .9900, .0591, .9910, .0992}, Row{48, .9910, .0992, .9996, .0121}}) {
    const auto inverse = [&](int from) {
      return move_coefficients(Parameterization::Epsilon, grid.level(from), grid.level(from - 1));
    };
    const Affine matched = inverse(row.i + 1), shifted = inverse(row.i + 2);
    CAPTURE(row.i);
    // The table has four decimals.
    CHECK(matched.of_x == Approx(row.x).margin(6e-5));
    CHECK(matched.of_output == Approx(row.eps).margin(6e-5));
    CHECK(shifted.of_x == Approx(row.shifted_x).margin(6e-5));
    CHECK(shifted.of_output == Approx(row.shifted_eps).margin(6e-5));
  }
}

TEST_CASE("Levels of a variance-preserving grid lie on the circle, of a flow grid on the line", "[unit]") {
  const std::vector<std::shared_ptr<const Solver>> solvers{
      std::make_shared<Ddim>(), std::make_shared<Euler>(), std::make_shared<Dpmpp2m>(),
      std::make_shared<UniPc>(), std::make_shared<Lcm>()};
  for (const auto& solver : solvers) {
    const NoiseSchedule vp = solver->schedule(VpTraining{}, {.steps = 7});
    for (const Level& l : vp.levels())
      CHECK(l.alpha * l.alpha + l.sigma * l.sigma == Approx(1.0).epsilon(1e-15));
    CHECK(vp.strictly_falling());
    const NoiseSchedule flow = solver->schedule(FlowTraining{.shift = 3.0}, {.steps = 7});
    for (const Level& l : flow.levels()) CHECK(l.alpha + l.sigma == 1.0);
    CHECK(flow.strictly_falling());
    CHECK(flow.level(7).sigma == 0.0);
  }
}

TEST_CASE("The flow shift moves one half to three quarters at 3 and nothing at 1", "[unit]") {
  CHECK(shift_sigma(0.5, 3.0) == 0.75);
  for (double sigma : {0.0, 0.1, 0.37, 0.5, 1.0}) CHECK(shift_sigma(sigma, 1.0) == sigma);
  CHECK(shift_sigma(1.0, 7.3) == Approx(1.0).epsilon(1e-15));
  CHECK(DynamicShift{}.mu(1024) == Approx(0.63));
  CHECK(DynamicShift{}.mu(4096) == Approx(1.15));
  // A dynamic shift is the static shift e^mu, and a run may replace either.
  const NoiseSchedule dynamic = flow_schedule({.dynamic = DynamicShift{}}, {.steps = 5, .tokens = 4096});
  const NoiseSchedule fixed = flow_schedule({}, {.steps = 5, .shift = std::exp(1.15)});
  for (int i = 0; i <= 5; ++i)
    CHECK(dynamic.level(i).sigma == Approx(fixed.level(i).sigma).epsilon(5e-7));  // float32, a few roundings
}

TEST_CASE("A flow grid is uniform from 1 to 1/N, and ends where shift_terminal says", "[unit]") {
  const NoiseSchedule grid = flow_schedule({}, {.steps = 8});
  for (int i = 0; i <= 8; ++i) {
    CHECK(grid.level(i).sigma == 1.0 - i / 8.0);
    CHECK(grid.level(i).model_time == 1000.0 - 125.0 * i);
  }
  const NoiseSchedule stretched = flow_schedule({.shift = 3.0, .shift_terminal = 0.1}, {.steps = 8});
  CHECK(stretched.level(0).sigma == 1.0);
  CHECK(stretched.level(7).sigma == Approx(0.1).epsilon(1e-6));  // float32
}

TEST_CASE("Karras and exponential levels are even in their own measure, between the same ends", "[unit]") {
  const auto ratio = [](const NoiseSchedule& grid, int i) { return grid.level(i).ratio(); };
  const NoiseSchedule model = vp_schedule({}, {.steps = 5});
  for (Sigmas sigmas : {Sigmas::Karras, Sigmas::Exponential}) {
    const NoiseSchedule grid = vp_schedule({}, {.steps = 5, .sigmas = sigmas, .rho = 5.0});
    const auto measure = [&](int i) {
      return sigmas == Sigmas::Karras ? std::pow(ratio(grid, i), 0.2) : std::log(ratio(grid, i));
    };
    CHECK(ratio(grid, 0) == Approx(ratio(model, 0)).epsilon(1e-6));  // levels are float32
    CHECK(ratio(grid, 4) == Approx(ratio(model, 4)).epsilon(1e-6));
    for (int i = 1; i < 4; ++i)
      CHECK(measure(i) - measure(i - 1) == Approx(measure(i + 1) - measure(i)).epsilon(1e-5));
  }
}

TEST_CASE("Align Your Steps takes the published tables, beta its quantiles, kl_optimal even angles",
          "[unit]") {
  const auto ratios = [](const NoiseSchedule& grid) {
    std::vector<double> all;
    for (int i = 0; i < grid.steps(); ++i) all.push_back(grid.level(i).ratio());
    return all;
  };
  const auto vp = [&](int steps, Sigmas sigmas) {
    return ratios(vp_schedule({}, {.steps = steps, .spacing = Spacing::Linspace, .sigmas = sigmas}));
  };
  const std::vector<double> sdxl = vp(10, Sigmas::AysSdxl), twice = vp(20, Sigmas::AysSdxl);
  CHECK(sdxl[0] == Approx(14.615));
  CHECK(sdxl[4] == Approx(1.342));
  CHECK(sdxl[9] == Approx(0.113));
  for (size_t i = 0; i < 9; ++i) {
    CHECK(twice[2 * i] == Approx(sdxl[i]));
    CHECK(twice[2 * i + 1] == Approx(std::sqrt(sdxl[i] * sdxl[i + 1])));
  }
  CHECK(vp(10, Sigmas::AysSd)[1] == Approx(6.475));
  // Beta(0.6, 0.6) is symmetric; its quartile is 0.18443..., from the incomplete beta integral.
  const std::vector<double> beta = vp(5, Sigmas::Beta);
  const double span = beta[0] - beta[4];
  CHECK((beta[2] - beta[4]) / span == Approx(0.5));
  CHECK((beta[1] - beta[4]) / span == Approx(1.0 - (beta[3] - beta[4]) / span));
  CHECK(detail::beta_probability(detail::beta_quantile(0.25, 0.6, 0.6), 0.6, 0.6) ==
        Approx(0.25).epsilon(1e-12));
  CHECK(detail::beta_quantile(0.25, 1.0, 1.0) == Approx(0.25).epsilon(1e-12));
  CHECK(detail::beta_quantile(0.25, 2.0, 1.0) == Approx(0.5).epsilon(1e-12));
  CHECK(detail::beta_quantile(0.36, 0.5, 0.5) == Approx(std::pow(std::sin(0.18 * std::numbers::pi), 2)));
  const std::vector<double> kl = vp(4, Sigmas::KlOptimal);
  for (size_t i = 1; i < 3; ++i)
    CHECK(std::atan(kl[i - 1]) - std::atan(kl[i]) ==
          Approx(std::atan(kl[i]) - std::atan(kl[i + 1])).epsilon(1e-5));  // levels are float32
  CHECK(vp_times(Spacing::Simple, 3) == std::vector<double>{999, 666, 333});
}

TEST_CASE("A run may bring its own levels", "[unit]") {
  const SigmaSpacing own = SigmaSpacing::from_text("sigmas", "14.6+4.9+1.5+0.4+0");
  const NoiseSchedule vp = vp_schedule({}, {.steps = 4, .sigmas = own});
  CHECK(vp.level(0).ratio() == Approx(14.6));
  CHECK(vp.level(3).ratio() == Approx(0.4));
  CHECK(vp.level(4).sigma == 0.0);
  CHECK(vp.initial_scale() == vp.level(0).sigma);  // as k-diffusion: X = S z
  const detail::TrainingTable table(alpha_bars({}));
  for (int i = 0; i < 4; ++i) {
    const double time = vp.level(i).model_time;
    CHECK(table.ratio_at(time) == Approx(vp.level(i).ratio()).epsilon(1e-3));  // linear against logarithmic
  }
  CHECK(Dpmpp2m().schedule(VpTraining{}, {.steps = 4, .sigmas = own}).level(1).ratio() == Approx(4.9));
  const SigmaSpacing flow(std::vector<double>{1.0, 0.7, 0.2});
  for (const NoiseSchedule& grid :
       {flow_schedule({.shift = 3.0}, {.steps = 3, .sigmas = flow}),
        Dpmpp2m().schedule(FlowTraining{.shift = 3.0}, {.steps = 3, .sigmas = flow})}) {
    CHECK(grid.level(1).sigma == Approx(0.7));  // not shifted: these are the levels
    CHECK(grid.level(1).model_time == Approx(700.0));
  }
  const auto refused = [](const NoiseKind kind, const char* text, int steps) {
    return failure([&] {
      const GridOptions grid{.steps = steps, .sigmas = SigmaSpacing::from_text("schedule.sigmas", text)};
      kind == NoiseKind::Flow ? flow_schedule({}, grid) : vp_schedule({}, grid);
    });
  };
  constexpr NoiseKind kVp = NoiseKind::VariancePreserving, kFlow = NoiseKind::Flow;
  CHECK_THAT(refused(kVp, "14+5", 3), Contains("sigmas: expected one level per step (3), got 2"));
  CHECK_THAT(refused(kVp, "5+5", 2), Contains("sigmas: expected falling values, but 5 follows 5"));
  CHECK_THAT(refused(kVp, "20+5", 2), Contains("sigmas: expected sigma/alpha in (0, 14.6"));
  CHECK_THAT(refused(kFlow, "1.5+0.5", 2), Contains("sigmas: expected sigma in (0, 1], got 1.5"));
  CHECK_THAT(refused(kVp, "5+0+1", 3), Contains("got 0"));
  CHECK_THAT(refused(kVp, "5+abc", 2), Contains("schedule.sigmas: expected VALUE"));
  CHECK_THAT(refused(kVp, "karas", 2), Contains("schedule.sigmas") && Contains("did you mean 'karras'?"));
  CHECK_THAT(refused(kVp, "ays_svd", 10), Contains("starts at sigma/alpha 700"));
  CHECK_THAT(refused(kFlow, "ays_sdxl", 10), Contains("does not apply to a flow"));
}

TEST_CASE("Levels between those of a grid have the time of their noise", "[unit]") {
  const NoiseSchedule grid = vp_schedule({}, {.steps = 10, .spacing = Spacing::Linspace});
  for (int i = 0; i < grid.steps(); ++i) {
    const Level level = grid.at_ratio(grid.level(i).ratio());
    CHECK(level.model_time == Approx(grid.level(i).model_time).margin(1e-2));  // the table is float32
    CHECK(level.sigma == Approx(grid.level(i).sigma));
  }
  // A grid made by hand interpolates in log(sigma/alpha).
  const NoiseSchedule own(NoiseKind::VariancePreserving,
                          {{900, 0.1, std::sqrt(0.99)}, {300, 0.8, 0.6}, {0, 1, 0}});
  const double high = own.level(0).ratio(), low = own.level(1).ratio();
  CHECK(own.at_ratio(std::sqrt(high * low)).model_time == Approx(600.0));
  CHECK(own.at_ratio(high).model_time == Approx(900.0));
  CHECK(own.at_ratio(2.0 * high).model_time == 900.0);
  CHECK(own.at_ratio(0.5 * low).model_time == 300.0);
  const Level flow = flow_schedule({}, {.steps = 4}).at_ratio(1.0 / 3.0);
  CHECK(flow.model_time == Approx(250.0));
  CHECK(flow.alpha == Approx(0.75));
}

TEST_CASE("A grid argument out of its range is refused by name", "[unit]") {
  const auto vp = [](VpTraining training, GridOptions grid, const Solver& solver = Euler()) {
    return failure([&] { solver.schedule(training, grid); });
  };
  const auto flow = [](FlowTraining training, GridOptions grid, const Solver& solver = Euler()) {
    return failure([&] { solver.schedule(training, grid); });
  };
  for (int steps : {0, -1, 1001}) {
    const std::string expected = "InvalidArgument: steps: expected 1 to 1000, got " + std::to_string(steps);
    CHECK(vp({}, {.steps = steps}) == expected);
    CHECK(flow({}, {.steps = steps}) == expected);
  }
  CHECK_THAT(vp({}, {.steps = 51}, Lcm()), Contains("InvalidArgument: steps: solver lcm"));
  CHECK_THAT(vp({.train_steps = 1}, {.steps = 1}), Contains("train_steps"));
  for (double beta : {0.0, -0.1, 1.0, 2.0, kNan}) {
    CHECK_THAT(vp({.beta_start = beta}, {}), Contains("InvalidArgument: beta_start"));
    CHECK_THAT(vp({.beta_end = beta}, {}), Contains("InvalidArgument: beta_start, beta_end"));
  }
  CHECK_THAT(vp({}, {.steps_offset = -1}), Contains("steps_offset") && Contains("-1"));
  CHECK_THAT(vp({}, {.rho = kNan}), Contains("rho") && Contains("nan"));
  CHECK_THAT(vp({}, {.sigmas = Sigmas::Karras}, Ddim()), Contains("sigmas: solver ddim"));
  for (double shift : {0.0, -3.0, kNan}) {
    CHECK_THAT(flow({.shift = shift}, {}), Contains("InvalidArgument: shift: expected > 0"));
    CHECK_THAT(flow({}, {.shift = shift}), Contains("schedule.shift"));
  }
  CHECK_THAT(flow({.dynamic = DynamicShift{}}, {}), Contains("InvalidArgument: tokens"));
  CHECK_THAT(flow({.dynamic = DynamicShift{}}, {.tokens = -5}), Contains("tokens") && Contains("-5"));
  for (double end : {-0.1, 1.0, 2.0, kNan})
    CHECK_THAT(flow({.shift_terminal = end}, {}), Contains("shift_terminal"));
  CHECK_THAT(flow({}, {.sigmas = Sigmas::Karras}, UniPc()), Contains("sigmas: karras needs sigma_min"));
  CHECK_THAT(flow({}, {.sigmas = Sigmas::Beta}, Dpmpp2m()), Contains("sigmas: beta"));
  CHECK_THAT(vp({}, {.sigma_max = 9.0}), Contains("schedule.sigma_max: applies to karras"));
  CHECK_THAT(vp({}, {.sigmas = Sigmas::Karras, .sigma_min = 9.0, .sigma_max = 9.0}),
             Contains("schedule.sigma_min: expected a level below sigma_max (9)"));
  CHECK_THAT(vp({}, {.steps = 1000}, Ddim()), Contains("schedule.steps_offset") && Contains("1000"));
  CHECK_THAT(vp({}, {.steps = 101}, Lcm({.origin_steps = 100})), Contains("takes at most 100"));
  CHECK_THAT(vp({}, {}, Lcm({.origin_steps = 2000})), Contains("lcm.origin_steps"));
}

TEST_CASE("Beta sigmas lie at the quantiles of the distribution", "[unit]") {
  using detail::beta_quantile;
  CHECK(beta_quantile(0.0, 0.6, 0.6) == Approx(0.0).margin(1e-15));
  CHECK(beta_quantile(0.5, 0.6, 0.6) == Approx(0.5).epsilon(1e-14));
  CHECK(beta_quantile(1.0, 0.6, 0.6) == Approx(1.0).epsilon(1e-15));
  for (double p : {0.001, 0.1, 0.3, 0.47, 0.9, 0.999}) {
    CAPTURE(p);
    // Beta(1, 1) is uniform, and Beta(1/2, 1/2) is the arcsine distribution.
    CHECK(beta_quantile(p, 1.0, 1.0) == Approx(p).epsilon(1e-13));
    CHECK(beta_quantile(p, 0.5, 0.5) ==
          Approx(std::pow(std::sin(std::numbers::pi * p / 2.0), 2)).epsilon(1e-12));
  }
  const NoiseSchedule grid = vp_schedule({}, {.steps = 9, .sigmas = Sigmas::Beta});
  const double top = grid.level(0).ratio(), low = grid.level(8).ratio();
  CHECK(grid.level(4).ratio() == Approx((top + low) / 2).epsilon(1e-6));  // float32
  CHECK(grid.level(4).ratio() - grid.level(5).ratio() > grid.level(7).ratio() - grid.level(8).ratio());
}

TEST_CASE("Levels that rise, are not finite, or are none are refused", "[unit]") {
  const auto levels = [](std::vector<Level> all) {
    return failure([&] { NoiseSchedule(NoiseKind::Flow, std::move(all)); });
  };
  CHECK_THAT(levels({}), Contains("InvalidArgument: steps: expected at least 1, got -1"));
  CHECK_THAT(levels({{}}), Contains("got 0"));
  CHECK_THAT(levels({{500, 0.5, 0.5}, {600, 0.4, 0.6}}),
             Contains("schedule: noise may not rise") && Contains("level 1"));
  for (const Level& bad :
       {Level{kNan, 0.5, 0.5}, Level{1, kNan, 0.5}, Level{1, 0.5, kNan}, Level{1, -0.5, 0.5},
        Level{1, 0.5, -0.5}, Level{1, std::numeric_limits<double>::infinity(), 0.5}})
    CHECK_THAT(levels({{1000, 0, 1}, bad, {}}),
               Contains("InvalidArgument: schedule: level 1 is not finite or negative"));
  const NoiseSchedule grid(NoiseKind::Flow, {{1000, 0, 1}, {500, 0.5, 0.5}, {}});
  CHECK_THAT(failure([&] { grid.with_landings({{}}); }),
             Contains("landings: expected one per step (2), got 1"));
}

TEST_CASE("A schedule clamps positions and knows whether its noise falls", "[unit]") {
  const NoiseSchedule grid(NoiseKind::Flow, {{1000, 0, 1}, {500, 0.5, 0.5}, {500, 0.5, 0.5}, {}});
  CHECK(grid.clamp(-2) == 0);
  CHECK(grid.clamp(2) == 2);
  CHECK(grid.clamp(9) == 3);
  CHECK_FALSE(grid.strictly_falling());
  CHECK(grid.landing(0).sigma == 0.5);
  CHECK(grid.with_landings({{1, 0.9, 0.1}, {}, {}}).landing(0).sigma == 0.1);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
