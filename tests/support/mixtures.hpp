// The analytic data distributions of the oracle tests.
#pragma once

#include <glint/model/gaussian_mixture_model.hpp>

#include <memory>

namespace glint::test {

/// One Gaussian N(mean, deviation^2 I) on [2,1] latents; deviation 0 is a point mass.
std::shared_ptr<const GaussianMixtureModel> gaussian(double mean, double deviation, Parameterization p,
                                                     NoiseKind kind);

/// Three Gaussians in the plane with standard deviation sqrt(0.15) and equal weights; component 0 is the
/// condition of the guided experiments.
std::shared_ptr<const GaussianMixtureModel> three_gaussians(Parameterization p, NoiseKind kind);

/// Root mean square over the batch of the Euclidean distance between samples.
double rms_distance(const at::Tensor& a, const at::Tensor& b);

}  // namespace glint::test
