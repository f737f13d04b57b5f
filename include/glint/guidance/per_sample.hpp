// Per-sample reductions in double precision, shared by the rules that use lengths and angles.
#pragma once

#include <glint/core/tensor.hpp>

#include <vector>

namespace glint::per_sample {

/// Reshapes [B] to [B,1,1,...] so that it multiplies x [B,...].
inline at::Tensor broadcast(const at::Tensor& values, const at::Tensor& x) {
  std::vector<int64_t> sizes(static_cast<size_t>(x.dim()), 1);
  sizes.front() = x.size(0);
  return values.to(x.scalar_type()).view(sizes);
}

/// Returns <a, b> for each sample: [B], float64.
inline at::Tensor dot(const at::Tensor& a, const at::Tensor& b) {
  return a.to(at::kDouble).mul(b).flatten(1).sum(1);
}

/// Returns |a| for each sample: [B], float64.
inline at::Tensor norm(const at::Tensor& a) { return per_sample::dot(a, a).sqrt(); }

/// Returns `a` scaled by one factor per sample, [B].
inline at::Tensor scaled(const at::Tensor& a, const at::Tensor& factor) {
  return a.mul(per_sample::broadcast(factor, a));
}

/// Returns numerator / denominator, or `otherwise` where the denominator is at most `floor`.
inline at::Tensor ratio(const at::Tensor& numerator, const at::Tensor& denominator, double otherwise,
                        double floor = 1e-24) {
  const at::Tensor tiny = denominator.le(floor);
  return numerator.div(denominator.masked_fill(tiny, 1.0)).masked_fill(tiny, otherwise);
}

}  // namespace glint::per_sample
