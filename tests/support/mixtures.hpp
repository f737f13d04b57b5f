// The analytic data distributions of the oracle tests.
#pragma once

#include <glint/model/gaussian_mixture_model.hpp>

#include "tests/support/tensors.hpp"

#include <memory>

namespace glint::test {

/// One Gaussian N(mean, deviation^2 I) on [2,1] latents; deviation 0 is a point mass.
inline std::shared_ptr<const GaussianMixtureModel> gaussian(double mean, double deviation, Parameterization p,
                                                            NoiseKind kind) {
  return std::make_shared<GaussianMixtureModel>(
      GaussianMixture{.means = at::full({1, 2, 1}, mean, at::kDouble),
                      .variances = at::full({1}, deviation * deviation, at::kDouble),
                      .weights = at::ones({1}, at::kDouble)},
      p, kind);
}

/// Three Gaussians in the plane with standard deviation sqrt(0.15) and equal weights; component 0 is the
/// condition of the guided experiments.
inline std::shared_ptr<const GaussianMixtureModel> three_gaussians(Parameterization p, NoiseKind kind) {
  return std::make_shared<GaussianMixtureModel>(
      GaussianMixture{.means = at::tensor({2.0, 0.0, -1.0, 1.5, -1.0, -1.5}, at::kDouble).reshape({3, 2, 1}),
                      .variances = at::full({3}, 0.15, at::kDouble),
                      .weights = at::ones({3}, at::kDouble)},
      p, kind);
}

/// Root mean square over the batch of the Euclidean distance between samples.
inline double rms_distance(const at::Tensor& a, const at::Tensor& b) {
  return std::sqrt(a.sub(b).square().flatten(1).sum(1).mean().item<double>());
}

}  // namespace glint::test
