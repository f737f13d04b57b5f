// Solvers against exact answers: Gaussian data has a closed-form probability-flow endpoint, a point mass is
// returned exactly, and a guided pair of Gaussians is again a Gaussian.
#include <glint/catalog/registry.hpp>
#include <glint/core/schedule_flow.hpp>
#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/lcm.hpp>
#include <glint/solver/unipc.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/mixtures.hpp"
#include "tests/support/report.hpp"
#include "tests/support/samplers.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

using test::gaussian;

constexpr Parameterization kAll[] = {Parameterization::Epsilon, Parameterization::V, Parameterization::X0,
                                     Parameterization::Velocity};

at::Tensor normal_batch(int64_t batch, uint64_t seed = 7) {
  return NoiseStream(seed, batch).normal({2, 1}, at::kDouble);
}

// Levels evenly spaced in lambda = log(alpha/sigma), the variable the multistep solvers expand in. They end
// at a level with noise: UniPC's inner steps are of third order and its last of first, whose O(h^2) share of
// the error only shows at these step counts where the last level still has noise to remove.
NoiseSchedule log_snr_grid(NoiseKind kind, int steps, double first = -2.0, double last = 0.5) {
  std::vector<Level> levels;
  for (int i = 0; i <= steps; ++i) {
    const double ratio = std::exp(-(first + (last - first) * i / steps));
    const double alpha = kind == NoiseKind::Flow ? 1.0 / (1.0 + ratio) : 1.0 / std::sqrt(1.0 + ratio * ratio);
    levels.push_back({1000.0 * ratio * alpha, alpha, ratio * alpha});
  }
  return {kind, std::move(levels)};
}

// x(sigma') on the probability flow of N(m, r^2): the standardised value stays.
at::Tensor exact_flow(const at::Tensor& x, const Level& from, const Level& to, double m, double r) {
  const auto spread = [r](const Level& l) {
    return std::sqrt(l.alpha * l.alpha * r * r + l.sigma * l.sigma);
  };
  return (x - from.alpha * m) * (spread(to) / spread(from)) + to.alpha * m;
}

// The grid above with a first step of length h^1.5. A multistep method's first step is of first order, and
// its error of h^2 would hide a third-order method's.
NoiseSchedule third_order_grid(NoiseKind kind, int steps) {
  const NoiseSchedule even = log_snr_grid(kind, steps - 1);
  const double h = 2.5 / (steps - 1);
  std::vector<Level> levels = even.levels();
  levels.insert(levels.begin() + 1, even.at_ratio(std::exp(2.0 - std::pow(h, 1.5))));
  return {kind, std::move(levels)};
}

double measured_order(const std::shared_ptr<const Solver>& solver, NoiseKind kind, Parameterization p,
                      bool third = false) {
  constexpr double kMean = 0.7, kDeviation = 0.6;
  const at::Tensor x = normal_batch(64);
  std::vector<double> errors;
  for (int steps : {16, 32, 64, 128}) {
    const NoiseSchedule grid = third ? third_order_grid(kind, steps) : log_snr_grid(kind, steps);
    const auto model = gaussian(kMean, kDeviation, p, kind);
    const Sampler sampler = test::sampler_of(model, grid, solver);
    const at::Tensor end =
        sampler.sample({.prompt = {model->condition(), model->condition()}, .noise = x}).latents;
    errors.push_back(
        test::rms_distance(end, exact_flow(x, grid.level(0), grid.level(steps), kMean, kDeviation)));
  }
  // Least squares through (log2 N, log2 error) at N = 16, 32, 64, 128.
  const auto y = [&](size_t i) { return std::log2(errors[i]); };
  return -(-1.5 * y(0) - 0.5 * y(1) + 0.5 * y(2) + 1.5 * y(3)) / 5.0;
}

TEST_CASE("Solvers converge to the exact flow of Gaussian data with their order", "[oracle]") {
  struct Case {
    const char* name;
    std::shared_ptr<const Solver> solver;
    double order;
  };
  const Case cases[] = {{"ddim", std::make_shared<Ddim>(), 1.0},
                        {"euler", std::make_shared<Euler>(), 1.0},
                        {"dpmpp-2m", std::make_shared<Dpmpp2m>(), 2.0},
                        {"unipc", std::make_shared<UniPc>(), 2.0}};
  for (NoiseKind kind : {NoiseKind::VariancePreserving, NoiseKind::Flow}) {
    for (const auto& [name, solver, order] : cases) {
      const double slope = measured_order(solver, kind, Parameterization::Velocity);
      test::report("order of {:12} on {:20}: {:.3f}", name, enum_name(kind), slope);
      CAPTURE(name, enum_name(kind));
      CHECK(std::abs(slope - order) < 0.2);
    }
  }
  const double flow_euler =
      measured_order(std::make_shared<FlowEuler>(), NoiseKind::Flow, Parameterization::Velocity);
  test::report("order of {:12} on {:20}: {:.3f}", "flow-euler", "flow", flow_euler);
  CHECK(std::abs(flow_euler - 1.0) < 0.2);
}

TEST_CASE("Solvers of several predictions a step, and the newer multistep ones, have their order",
          "[oracle]") {
  const std::pair<Choice, double> cases[] = {{{"heun"}, 2.0},
                                             {{"dpm2"}, 2.0},
                                             {{"dpmpp-sde", {{"eta", 0.0}}}, 2.0},
                                             {{"res-2s"}, 2.0},
                                             {{"res-multistep"}, 2.0},
                                             {{"deis", {{"order", 1}}}, 1.0},
                                             {{"deis", {{"order", 2}}}, 2.0},
                                             {{"deis", {{"order", 3}}}, 3.0},
                                             {{"dpmpp-3m-sde", {{"eta", 0.0}}}, 3.0},
                                             {{"er-sde", {{"noise", "ode"}, {"legacy", true}}}, 2.0},
                                             {{"er-sde", {{"noise", "ode"}, {"order", 1}}}, 1.0},
                                             {{"er-sde", {{"noise", "ode"}, {"order", 2}}}, 2.0},
                                             {{"er-sde", {{"noise", "ode"}}}, 3.0}};
  for (NoiseKind kind : {NoiseKind::VariancePreserving, NoiseKind::Flow})
    for (const auto& [choice, order] : cases) {
      const double slope =
          measured_order(builtins().solver(choice), kind, Parameterization::Velocity, order == 3.0);
      test::report("order {} of {:14} on {:4}: {:.3f}", order, choice.name, enum_name(kind), slope);
      CAPTURE(choice.name, order, enum_name(kind));
      CHECK(std::abs(slope - order) < 0.2);
    }
}

TEST_CASE("A run costs the predictions that its solver's formula says", "[oracle]") {
  constexpr int n = 7;
  const std::pair<Choice, int64_t> cases[] = {
      {{"heun"}, 2 * n - 1},
      {{"heun", {{"churn", 3.0}}}, 2 * n - 1},
      {{"dpm2"}, 2 * n - 1},
      {{"dpmpp-sde"}, 2 * n - 1},
      {{"res-2s"}, 2 * n - 1},
      {{"restart", {{"restarts", 0}}}, 2 * n - 1},
      {{"restart", {{"restarts", 3}, {"restart_steps", 4}}}, 2 * n - 1 + 2 * 3 * 4},
      {{"euler", {{"churn", 3.0}}}, n},
      {{"dpmpp-3m-sde"}, n},
      {{"deis", {{"order", 3}}}, n},
      {{"res-multistep"}, n},
      {{"er-sde"}, n}};
  for (NoiseKind kind : {NoiseKind::VariancePreserving, NoiseKind::Flow})
    for (const auto& [choice, predictions] : cases) {
      const auto model = gaussian(0.5, 0.8, Parameterization::Velocity, kind);
      const auto solver = builtins().solver(choice);
      const NoiseSchedule grid = kind == NoiseKind::Flow ? solver->schedule(FlowTraining{}, {.steps = n})
                                                         : solver->schedule(VpTraining{}, {.steps = n});
      const SampleResult result =
          test::sampler_of(model, grid, solver, 3.0)
              .sample({.prompt = {model->condition(), model->condition()}, .noise = normal_batch(2)});
      CAPTURE(choice.name, enum_name(kind));
      CHECK(result.usage.rows == predictions * 2 * 2);
      CHECK(result.nfe() == static_cast<double>(predictions * 2));
    }
}

TEST_CASE("What a solver cannot start from is refused when the sampler is built", "[oracle]") {
  const auto model = gaussian(0.5, 0.8, Parameterization::Velocity, NoiseKind::Flow);
  const auto refused = [&](const Choice& choice, const NoiseSchedule& grid) {
    return test::failure([&] { test::sampler_of(model, grid, builtins().solver(choice)); });
  };
  const NoiseSchedule pure = flow_schedule({}, {.steps = 6});
  for (const char* name : {"dpmpp-sde", "dpmpp-3m-sde", "res-2s", "res-multistep", "er-sde", "deis"})
    CHECK_THAT(refused({name}, pure),
               test::Contains("solver " + std::string(name)) && test::Contains("pure noise"));
  CHECK_THAT(refused({"restart", {{"low", 0.01}, {"high", 0.02}}}, pure), test::Contains("restart: sigma"));
  CHECK_THAT(test::failure([&] {
               builtins().solver({"restart", {{"low", 3.0}}});
             }),
             test::Contains("restart.low: expected less than high"));
}

TEST_CASE("The order does not depend on what the model predicts", "[oracle]") {
  for (Parameterization p : kAll) {
    CAPTURE(enum_name(p));
    CHECK(std::abs(measured_order(std::make_shared<UniPc>(), NoiseKind::VariancePreserving, p) - 2.0) < 0.2);
  }
}

TEST_CASE("A point mass is returned exactly by every deterministic solver, in any number of steps",
          "[oracle]") {
  const std::vector<std::shared_ptr<const Solver>> solvers = {
      std::make_shared<Ddim>(),
      std::make_shared<Euler>(),
      std::make_shared<Dpmpp2m>(),
      std::make_shared<UniPc>(),
      builtins().solver({"heun"}),
      builtins().solver({"dpm2"}),
      builtins().solver({"dpmpp-sde", {{"eta", 0.0}}}),
      builtins().solver({"dpmpp-3m-sde", {{"eta", 0.0}}}),
      builtins().solver({"deis"}),
      builtins().solver({"res-2s"}),
      builtins().solver({"res-multistep"}),
      builtins().solver({"er-sde", {{"noise", "ode"}}})};
  for (NoiseKind kind : {NoiseKind::VariancePreserving, NoiseKind::Flow}) {
    for (const auto& solver : solvers) {
      for (Parameterization p : kAll) {
        // A flow starts at pure noise, which says nothing of x0 through its own eps.
        if (kind == NoiseKind::Flow && p == Parameterization::Epsilon) continue;
        for (int steps : {1, 2, 8}) {
          const GridOptions grid{.steps = steps, .spacing = Spacing::Trailing};
          const NoiseSchedule schedule =
              kind == NoiseKind::Flow ? solver->schedule(FlowTraining{}, grid)
                                      : solver->schedule(VpTraining{.final_alpha = FinalAlpha::One}, grid);
          const auto model = gaussian(1.25, 0.0, p, kind);
          const SampleResult result =
              test::sampler_of(model, schedule, solver)
                  .sample({.prompt = {model->condition(), {}}, .noise = normal_batch(3)});
          CAPTURE(enum_name(kind), enum_name(p), steps);
          // eps models divide by alpha (0.07 at the first level), hence not the last bit.
          CHECK(result.latents.sub(1.25).abs().max().item<double>() < 1e-12);
        }
      }
    }
  }
}

TEST_CASE("Moving back along the same prediction undoes the move", "[oracle]") {
  const at::Tensor x = normal_batch(64), output = normal_batch(64, 8);
  double worst = 0.0;
  for (NoiseKind kind : {NoiseKind::VariancePreserving, NoiseKind::Flow}) {
    const NoiseSchedule grid = log_snr_grid(kind, 20);
    // x0 models are left out: the same x0 prediction means another eps at the other level, so no round trip
    // exists.
    for (Parameterization p : {Parameterization::Epsilon, Parameterization::Velocity}) {
      if (kind == NoiseKind::VariancePreserving && p == Parameterization::Velocity) continue;
      for (int i = 0; i < grid.steps(); ++i) {
        const at::Tensor there = move(x, output, p, grid.level(i), grid.level(i + 1));
        const at::Tensor back = move(there, output, p, grid.level(i + 1), grid.level(i));
        worst = std::max(worst, (back - x).abs().max().item<double>());
      }
    }
  }
  test::report("round trip with the same prediction, largest error in float64: {:.1e}", worst);
  CHECK(worst < 1e-12);
}

TEST_CASE("Two equal Gaussians under guidance w are the Gaussian at mean_u + w (mean_c - mean_u)",
          "[oracle]") {
  for (NoiseKind kind : {NoiseKind::VariancePreserving, NoiseKind::Flow}) {
    const auto mixture = std::make_shared<GaussianMixtureModel>(
        GaussianMixture{.means = at::tensor({1.0, 1.0, -0.5, 0.25}, at::kDouble).reshape({2, 2, 1}),
                        .variances = at::full({2}, 0.3, at::kDouble),
                        .weights = at::ones({2}, at::kDouble)},
        Parameterization::Velocity, kind);
    const Prompt prompt{mixture->condition({0}), mixture->condition({1})};
    const NoiseSchedule grid = log_snr_grid(kind, 400);
    const at::Tensor x = normal_batch(32);
    const at::Tensor end = test::sampler_of(mixture, grid, std::make_shared<UniPc>(), 3.0)
                               .sample({.prompt = prompt, .noise = x})
                               .latents;
    const at::Tensor mean = at::tensor({-0.5 + 3.0 * 1.5, 0.25 + 3.0 * 0.75}, at::kDouble).reshape({1, 2, 1});
    const double r2 = 0.3;
    const auto spread = [&](const Level& l) { return std::sqrt(l.alpha * l.alpha * r2 + l.sigma * l.sigma); };
    const Level &from = grid.level(0), &to = grid.level(400);
    const at::Tensor exact = (x - mean * from.alpha) * (spread(to) / spread(from)) + mean * to.alpha;
    CHECK(test::rms_distance(end, exact) < 1e-4);
  }
}

TEST_CASE("DDIM that clips or thresholds x0 keeps the network's eps", "[oracle]") {
  const NoiseSchedule grid = Ddim().schedule(VpTraining{}, GridOptions{.steps = 10});
  const at::Tensor x = normal_batch(4), output = normal_batch(4, 8).mul(3.0);
  for (Parameterization p : {Parameterization::Epsilon, Parameterization::V, Parameterization::X0}) {
    const at::Tensor x0 = denoised_from(p, grid.level(4))(x, output);
    const at::Tensor eps = epsilon_from(p, grid.level(4))(x, output);
    for (double eta : {0.0, 0.7}) {
      const double whole = grid.landing(4).sigma,
                   fresh = ancestral_sigma(grid.level(4), grid.landing(4), eta);
      const at::Tensor rest =
          eps.mul(std::sqrt(whole * whole - fresh * fresh)).add(NoiseStream(5, 4).normal_like(x), fresh);
      const auto stepped = [&](const DdimOptions& options) {
        SolverHistory history;
        NoiseStream noise(5, 4);
        return Ddim(options).step(
            {.x = x, .output = output, .parameterization = p, .schedule = grid, .index = 4}, history, noise);
      };
      const double alpha = grid.landing(4).alpha;
      CHECK(test::relative_error(stepped({.eta = eta, .clip = 0.7}), clipped(x0, 0.7).mul(alpha).add(rest)) <
            1e-12);
      CHECK(test::relative_error(stepped({.eta = eta, .threshold = 0.9, .threshold_max = 2.0}),
                                 thresholded(x0, {.ratio = 0.9, .max = 2.0}).mul(alpha).add(rest)) < 1e-12);
      CHECK(test::relative_error(stepped({.eta = eta, .clip = 1e6}), stepped({.eta = eta})) < 1e-12);
    }
  }
  CHECK_THAT(test::failure([] { Ddim({.clip = 1.0, .threshold = 0.9}); }),
             test::Contains("ddim.clip: expected none beside threshold, got 1"));
}

TEST_CASE("Stochastic solvers keep the marginal variance of Gaussian data", "[oracle]") {
  const std::vector<std::shared_ptr<const Solver>> solvers = {std::make_shared<Ddim>(DdimOptions{1.0}),
                                                              std::make_shared<EulerAncestral>(),
                                                              std::make_shared<Dpmpp2mSde>(),
                                                              builtins().solver({"dpmpp-sde"}),
                                                              builtins().solver({"dpmpp-3m-sde"}),
                                                              builtins().solver({"er-sde"}),
                                                              builtins().solver({"heun", {{"churn", 30.0}}}),
                                                              builtins().solver({"restart"})};
  const auto model = gaussian(0.5, 0.8, Parameterization::V, NoiseKind::VariancePreserving);
  for (const auto& solver : solvers) {
    const NoiseSchedule grid = log_snr_grid(NoiseKind::VariancePreserving, 200, -4.0, 4.0);
    const at::Tensor samples = test::sampler_of(model, grid, solver)
                                   .sample({.prompt = {model->condition(), {}}, .noise = normal_batch(4000)})
                                   .latents;
    // 8000 values: the standard error of the deviation is 0.8 / sqrt(16000) = 0.006; discretisation adds as
    // much.
    CHECK(samples.mean().item<double>() == Approx(0.5).margin(0.04));
    CHECK(samples.flatten().std(0).item<double>() == Approx(0.8).margin(0.03));
  }
}

TEST_CASE("Gaussian mixtures predict the same x0 and eps in every parameterization", "[oracle]") {
  const at::Tensor x = normal_batch(16);
  for (NoiseKind kind : {NoiseKind::VariancePreserving, NoiseKind::Flow}) {
    const NoiseSchedule grid = log_snr_grid(kind, 10);
    for (int i = 0; i < 10; ++i) {
      at::Tensor reference;
      for (Parameterization p : kAll) {
        const auto model = test::three_gaussians(p, kind);
        const Conditioning all = model->condition();
        const Conditioning* branch = &all;
        const at::Tensor output =
            model->predict({.x = x, .level = grid.level(i), .branches = {&branch, 1}, .adapters = {}})
                .front();
        const at::Tensor denoised = denoised_from(p, grid.level(i))(x, output);
        const at::Tensor rebuilt =
            denoised * grid.level(i).alpha + epsilon_from(p, grid.level(i))(x, output) * grid.level(i).sigma;
        if (!reference.defined()) reference = denoised;
        CHECK((denoised - reference).abs().max().item<double>() < 1e-12);
        CHECK((rebuilt - x).abs().max().item<double>() < 1e-12);
      }
    }
  }
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
