// Noise selection and optimization on Gaussian data, where the round trip is a diagonal matrix and everything
// is known.
#include <glint/noise/golden_noise.hpp>
#include <glint/noise/reward_selection.hpp>
#include <glint/noise/stability_optimization.hpp>
#include <glint/noise/stability_selection.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/errors.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

using test::relative_error;

// Zero-mean Gaussian data with variances v per value, under flow noise: velocity (s - a v) x / (a^2 v + s^2).
std::shared_ptr<const Model> gaussian_field(const at::Tensor& variances) {
  return test::model_of(
      Parameterization::Velocity, NoiseKind::Flow, [variances](const at::Tensor& x, const Level& l) {
        return x * ((variances * -l.alpha + l.sigma) / (l.alpha * l.alpha * variances + l.sigma * l.sigma));
      });
}

const at::Tensor kVariances = NoiseStream(3, 1).normal({4, 8, 8}, at::kDouble).abs().add(0.05).squeeze(0);

SampleResult sample(std::shared_ptr<const NoiseStrategy> noise, const at::Tensor& variances = kVariances,
                    int steps = 8) {
  std::vector<std::shared_ptr<const NoiseStrategy>> list;
  if (noise) list.push_back(std::move(noise));
  return Sampler({.predictor = {.model = gaussian_field(variances), .rule = std::make_shared<Cfg>(1.0)},
                  .schedule = test::schedule_of(NoiseKind::Flow, steps),
                  .solver = std::make_shared<Euler>(),
                  .noise_strategies = std::move(list)})
      .sample({.prompt = test::prompt_of(), .noise = test::latents(), .keep_trajectory = true});
}

#ifndef GLINT_CORE_ONLY  // nothing is differentiated there
/// What a strategy is handed, for tests that call into one.
template <typename Body>
void inside(const at::Tensor& variances, const at::Tensor& x, Body body) {
  struct Probe final : NoiseStrategy {
    Body& body;
    explicit Probe(Body& b) : body(b) {}
    std::string_view name() const override { return "probe"; }
    at::Tensor refine(const at::Tensor& noise, const NoiseContext& c) const override {
      body(noise, c);
      return noise;
    }
  };
  Sampler({.predictor = {.model = gaussian_field(variances), .rule = std::make_shared<Cfg>(1.0)},
           .schedule = test::schedule_of(NoiseKind::Flow, 8),
           .solver = std::make_shared<Euler>(),
           .noise_strategies = {std::make_shared<Probe>(body)}})
      .sample({.prompt = test::prompt_of(), .noise = x});
}

TEST_CASE("Isotropic Gaussian data leave every noise perfectly stable, with no gradient", "[oracle]") {
  inside(
      at::full({4, 8, 8}, 0.4, at::kDouble), test::latents(), [](const at::Tensor& x, const NoiseContext& c) {
        const RoundTrip trip({.steps = 4}, c.run.schedule(), c.predictor);
        CHECK(cosine(x, trip(c.run, x, trip.predictor())).sub(1.0).abs().max().item<double>() < 1e-12);
        CHECK(StabilityOptimization::stability_gradient(c.run, trip, x).abs().max().item<double>() < 1e-12);
      });
}

TEST_CASE("The gradient of stability on diagonal Gaussian data is the closed form", "[oracle]") {
  // F(x) = r x; d cos = 2 r x / (n m) - S x / (n^3 m) - S r^2 x / (n m^3), n = |x|, m = |r x|, S = sum r x^2.
  inside(kVariances, test::latents(), [](const at::Tensor& x, const NoiseContext& c) {
    const RoundTrip trip({.steps = 4}, c.run.schedule(), c.predictor);
    const at::Tensor r = trip(c.run, at::ones(x.sizes(), x.options()), trip.predictor());
    const at::Tensor n = per_sample::norm(x), m = per_sample::norm(r * x), s = per_sample::dot(r * x, x);
    CHECK(relative_error(cosine(x, trip(c.run, x, trip.predictor())), s / (n * m)) < 1e-12);
    const at::Tensor expected = per_sample::scaled(r * x, 2.0 / (n * m)) -
                                per_sample::scaled(x, s / (n.pow(3) * m)) -
                                per_sample::scaled(r * r * x, s / (n * m.pow(3)));
    // float64 through 8 maps and their recomputation; 1e-5 is asked.
    CHECK(relative_error(StabilityOptimization::stability_gradient(c.run, trip, x).neg(), expected) < 1e-10);
  });
}

TEST_CASE("Optimization raises stability monotonically with a small rate, and keeps the norm", "[oracle]") {
  std::vector<double> before{0.0};
  for (int iterations : {1, 2, 4, 8, 16}) {
    const SampleResult result = sample(std::make_shared<StabilityOptimization>(StabilityOptimizationOptions{
        .iterations = iterations, .learning_rate = 1.0, .momentum = 0.0, .trip = {.steps = 4}}));
    const auto& report = result.reports.at("stability-optimization");
    CHECK(report.at("stability_after")[0] > report.at("stability_before")[0]);
    CHECK(report.at("stability_after")[0] > before.back());
    before.push_back(report.at("stability_after")[0]);
    CHECK(relative_error(per_sample::norm(result.trajectory.front()), per_sample::norm(test::latents())) <
          1e-12);
  }
}

TEST_CASE("Optimization without iterations or at rate 0 is the baseline to the bit", "[oracle]") {
  const SampleResult plain = sample(nullptr);
  for (const StabilityOptimizationOptions& off :
       {StabilityOptimizationOptions{.iterations = 0}, StabilityOptimizationOptions{.learning_rate = 0.0}}) {
    const SampleResult result = sample(std::make_shared<StabilityOptimization>(off));
    CHECK(at::equal(result.latents, plain.latents));
    CHECK(result.usage.rows == plain.usage.rows);
  }
}

TEST_CASE("Without its norm kept, optimization can only lengthen the noise", "[oracle]") {
  const SampleResult result = sample(std::make_shared<StabilityOptimization>(
      StabilityOptimizationOptions{.iterations = 4, .keep_norm = false, .trip = {.steps = 4}}));
  CHECK(per_sample::norm(result.trajectory.front()).gt(per_sample::norm(test::latents())).all().item<bool>());
}

TEST_CASE("Perturbation finds an ascent direction without gradients", "[oracle]") {
  const SampleResult result = sample(std::make_shared<StabilityOptimization>(
      StabilityOptimizationOptions{.iterations = 60,
                                   .learning_rate = 1.0,
                                   .gradient = GradientSource::Perturbation,
                                   .trip = {.steps = 4}}));
  const auto& report = result.reports.at("stability-optimization");
  for (size_t b = 0; b < 2; ++b) CHECK(report.at("stability_after")[b] > report.at("stability_before")[b]);
}

TEST_CASE("Backpropagation is refused when built for a model without gradients", "[oracle]") {
  CHECK_THAT(test::failure([] {
               Sampler({.predictor = {.model = test::token_model(NoiseKind::Flow),
                                      .rule = std::make_shared<Cfg>(1.0)},
                        .schedule = test::schedule_of(NoiseKind::Flow, 4),
                        .solver = std::make_shared<Euler>(),
                        .noise_strategies = {std::make_shared<StabilityOptimization>()}});
             }),
             test::Contains("gradient=perturbation works without"));
}
#endif

TEST_CASE("Best of K never falls with K; one candidate is the baseline to the bit", "[oracle]") {
  const at::Tensor plain = sample(nullptr).latents;
  CHECK(at::equal(
      sample(std::make_shared<StabilitySelection>(StabilitySelectionOptions{.candidates = 1})).latents,
      plain));
  double best = -1.0;
  for (int k : {1, 2, 5, 9}) {
    const SampleResult result = sample(std::make_shared<StabilitySelection>(
        StabilitySelectionOptions{.candidates = k, .batch = 2, .trip = {.steps = 4}}));
    if (k == 1) continue;
    const double after = result.reports.at("stability-selection").at("stability_after")[0];
    CHECK(after >= best);
    best = after;
  }
}

TEST_CASE("The size of a batch of candidates changes nothing", "[oracle]") {
  const auto with = [](int batch) {
    return sample(std::make_shared<StabilitySelection>(
                      StabilitySelectionOptions{.candidates = 5, .batch = batch, .trip = {.steps = 3}}))
        .latents;
  };
  CHECK(at::equal(with(1), with(3)));
  CHECK(at::equal(with(1), with(5)));
}

TEST_CASE("Stability tends to one as the round trip gets finer", "[oracle]") {
  double last = 0.0;
  for (int steps : {4, 8, 16, 64}) {
    const SampleResult result = sample(std::make_shared<StabilitySelection>(StabilitySelectionOptions{
                                           .candidates = 2, .trip = {.steps = steps}}),
                                       kVariances, steps);
    const double before = result.reports.at("stability-selection").at("stability_before")[0];
    CHECK(before > last);
    last = before;
  }
  CHECK(last > 0.99);
}

TEST_CASE("Reward selection ends in the picture its scorer likes best, pruned or not", "[oracle]") {
  const LatentScorer brightness = [](const at::Tensor& latents, const Prompt&) {
    return latents.flatten(1).mean(1);
  };
  const at::Tensor plain = sample(nullptr).latents;
  for (double prune_at : {1.0, 0.5}) {
    const SampleResult result = sample(std::make_shared<RewardSelection>(
        brightness, RewardSelectionOptions{.candidates = 6, .prune_at = prune_at, .keep = 0.5}));
    const auto& report = result.reports.at("reward-selection");
    for (int64_t b = 0; b < 2; ++b) {
      const double got = result.latents[b].mean().item<double>();
      // The run is first order too, so it ends where the selection's did.
      CHECK(got == Approx(report.at("score_after")[static_cast<size_t>(b)]).epsilon(1e-9));
      CHECK(got >= plain[b].mean().item<double>());
    }
    const int64_t n = 8, p = static_cast<int64_t>(prune_at * n);
    const int64_t rows = prune_at == 1.0 ? 6 * n : 6 * (p + 1) + 3 * (n - p);
    CHECK(result.by_stage.at("reward-selection").rows == 2 * rows);
  }
  CHECK(at::equal(
      sample(std::make_shared<RewardSelection>(brightness, RewardSelectionOptions{.candidates = 1})).latents,
      plain));
}

TEST_CASE("Golden noise is the network's noise, in the share asked for", "[oracle]") {
  const NoiseNetwork doubled = [](const at::Tensor& noise, const Prompt&) { return noise * 2.0; };
  const at::Tensor start = test::latents();
  CHECK(at::equal(sample(std::make_shared<GoldenNoise>(doubled, GoldenNoiseOptions{0.0})).latents,
                  sample(nullptr).latents));
  CHECK(relative_error(
            sample(std::make_shared<GoldenNoise>(doubled, GoldenNoiseOptions{1.0})).trajectory.front(),
            start * 2.0) < 1e-12);
  CHECK(relative_error(
            sample(std::make_shared<GoldenNoise>(doubled, GoldenNoiseOptions{0.5})).trajectory.front(),
            start * 1.5) < 1e-12);
  const NoiseNetwork smaller = [](const at::Tensor& noise, const Prompt&) { return noise.narrow(-1, 0, 4); };
  CHECK_THAT(test::failure([&] { sample(std::make_shared<GoldenNoise>(smaller, GoldenNoiseOptions{1.0})); }),
             test::Contains("golden-noise: the network makes noise [2,4,8,4], the run has [2,4,8,8]"));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
