// What keeps an estimate of the clean sample x0 in a range: clipping and dynamic thresholding.
#pragma once

#include <glint/core/options.hpp>
#include <glint/core/tensor.hpp>

#include <cmath>

namespace glint {

/// Returns x0 clipped to [-range, range].
inline at::Tensor clipped(const at::Tensor& x0, double range) {
  return x0.clamp_min(-range).clamp_max(range);
}

struct ThresholdOptions {
  double ratio = 0.995;
  double max = 1.0;
  static void fields(auto& visit, auto& o) {
    visit("ratio", o.ratio,
          Field{.help = "share of a sample's values that are not clipped", .minimum = 0, .maximum = 1});
    visit("max", o.max,
          Field{.help = "largest value to divide by; 1 = clip to [-1, 1]", .minimum = 1e-6, .maximum = 1e9});
  }
};

/// Returns each sample clipped to [-s, s] and divided by s, the `ratio` quantile of its magnitudes, which
/// counts as at least 1 and at most `max`. Quantiles between two values are interpolated.
/// Shapes:  x0 [B,...], at least one value a sample.   Cost: one sort.
/// Source:  Saharia et al., "Photorealistic Text-to-Image Diffusion Models with Deep Language Understanding",
///          NeurIPS 2022, arXiv:2205.11487, Sec. 2.3.
inline at::Tensor thresholded(const at::Tensor& x0, const ThresholdOptions& options) {
  const at::Tensor magnitudes = x0.abs().flatten(1);
  const double rank = options.ratio * static_cast<double>(magnitudes.size(1) - 1);
  const auto below = static_cast<int64_t>(std::floor(rank)), above = static_cast<int64_t>(std::ceil(rank));
  const at::Tensor order = magnitudes.argsort(1, /*descending=*/false);
  const auto ranked = [&](int64_t place) {
    return magnitudes.gather(1, order.narrow(1, place, 1)).squeeze(1);
  };
  const at::Tensor quantile = at::lerp(ranked(below), ranked(above), rank - static_cast<double>(below));
  std::vector<int64_t> sizes(static_cast<size_t>(x0.dim()), 1);
  sizes.front() = x0.size(0);
  const at::Tensor s = quantile.clamp_min(1.0).clamp_max(options.max).view(sizes);
  return clipped(x0.div(s), 1.0);
}

}  // namespace glint
