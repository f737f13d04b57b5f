#include "tests/support/mixtures.hpp"
#include "tests/support/tensors.hpp"

#include <cmath>

namespace glint::test {

std::shared_ptr<const GaussianMixtureModel> gaussian(double mean, double deviation, Parameterization p,
                                                     NoiseKind kind) {
  return std::make_shared<GaussianMixtureModel>(
      GaussianMixture{.means = at::full({1, 2, 1}, mean, at::kDouble),
                      .variances = at::full({1}, deviation * deviation, at::kDouble),
                      .weights = at::ones({1}, at::kDouble)},
      p, kind);
}

std::shared_ptr<const GaussianMixtureModel> three_gaussians(Parameterization p, NoiseKind kind) {
  return std::make_shared<GaussianMixtureModel>(
      GaussianMixture{.means = at::tensor({2.0, 0.0, -1.0, 1.5, -1.0, -1.5}, at::kDouble).reshape({3, 2, 1}),
                      .variances = at::full({3}, 0.15, at::kDouble),
                      .weights = at::ones({3}, at::kDouble)},
      p, kind);
}

double rms_distance(const at::Tensor& a, const at::Tensor& b) {
  return std::sqrt(a.sub(b).square().flatten(1).sum(1).mean().item<double>());
}

}  // namespace glint::test
