// W2SD on mixtures: a weak model that misses a mode sends samples there; the other way round, away from it.
#include <glint/step/w2sd.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/mixtures.hpp"
#include "tests/support/report.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

constexpr int64_t kSamples = 4000;

std::shared_ptr<const GaussianMixtureModel> modes(double first_weight) {
  return std::make_shared<GaussianMixtureModel>(
      GaussianMixture{.means = at::tensor({2.0, 0.0, -1.0, 1.5, -1.0, -1.5}, at::kDouble).reshape({3, 2, 1}),
                      .variances = at::full({3}, 0.15, at::kDouble),
                      .weights = at::tensor({first_weight, 1.0, 1.0}, at::kDouble)},
      Parameterization::Epsilon, NoiseKind::VariancePreserving);
}

// Share of the samples that end on the side of the first mode, and half its 95 % interval.
std::pair<double, double> share_of_first(std::vector<StepMethod> strategies,
                                         const std::shared_ptr<const GaussianMixtureModel>& strong) {
  const Sampler sampler({.predictor = {.model = strong, .rule = std::make_shared<Cfg>(1.0)},
                         .schedule = test::schedule_of(NoiseKind::VariancePreserving, 40),
                         .solver = std::make_shared<Ddim>(),
                         .step_methods = std::move(strategies)});
  const Prompt prompt{strong->condition(), strong->condition()};
  const at::Tensor noise = NoiseStream(5, 1).normal({kSamples, 2, 1}, at::kDouble).squeeze(0);
  const at::Tensor x = sampler.sample({.prompt = prompt, .noise = noise}).latents;
  const double share = x.select(1, 0).ge(0.5).to(at::kDouble).mean().item<double>();
  return {share, 1.96 * std::sqrt(share * (1.0 - share) / kSamples)};
}

// Two-model W2SD without a bundle: the predictors are given directly. The weak model's condition is its own
// weights.
StepMethod reflection(const std::shared_ptr<const GaussianMixtureModel>& strong,
                      const std::shared_ptr<const GaussianMixtureModel>& weak) {
  const auto on = [](const std::shared_ptr<const GaussianMixtureModel>& model) {
    return with_model(model) | with_condition([c = model->condition()](const Prompt&) {
             return Prompt{c, c};
           });
  };
  return std::make_shared<Reflect>("w2sd", on(strong), on(weak), ReflectOptions{});
}

TEST_CASE("W2SD puts more mass on the mode the weak model misses, swapped predictors less", "[oracle]") {
  const auto strong = modes(0.5), weak = modes(0.02);
  const auto plain = share_of_first({}, strong);
  const auto toward = share_of_first({reflection(strong, weak)}, strong);
  const auto away = share_of_first({reflection(weak, strong)}, strong);
  test::report(
      "share of the missed mode: plain {:.3f} +- {:.3f}, W2SD {:.3f} +- {:.3f}, swapped {:.3f} +- {:.3f}",
      plain.first, plain.second, toward.first, toward.second, away.first, away.second);
  CHECK(plain.first == Approx(0.2).margin(0.03));  // 0.5 of 2.5
  CHECK(toward.first - toward.second > plain.first + plain.second);
  CHECK(away.first + away.second < plain.first - plain.second);
}

TEST_CASE("W2SD between equal models is the plain run with FixedPoint, and nearly that without", "[oracle]") {
  const auto strong = modes(0.5);
  const auto run = [&](std::optional<Evaluation> evaluation, int steps) {
    std::vector<StepMethod> strategies;
    if (evaluation)
      strategies.push_back(std::make_shared<Reflect>("w2sd", same_predictor(), same_predictor(),
                                                     ReflectOptions{.invert = {.evaluation = *evaluation}}));
    const Prompt prompt{strong->condition(), strong->condition()};
    return test::sampler_of(strong, test::schedule_of(NoiseKind::VariancePreserving, steps),
                            std::make_shared<Ddim>(), 1.0, strategies)
        .sample({.prompt = prompt, .noise = NoiseStream(5, 1).normal({200, 2, 1}, at::kDouble).squeeze(0)})
        .latents;
  };
  CHECK(test::rms_distance(run(Evaluation::FixedPoint, 40), run({}, 40)) < 1e-12);
  const double coarse = test::rms_distance(run(Evaluation::Destination, 50), run({}, 50));
  const double fine = test::rms_distance(run(Evaluation::Destination, 200), run({}, 200));
  CHECK(coarse / fine > 3.0);  // O(1/N): a factor of 4
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
