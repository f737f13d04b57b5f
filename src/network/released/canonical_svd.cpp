#include "network/released/canonical_svd.hpp"

#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/linalg_vector_norm.h>

namespace glint::released {
namespace {

constexpr double kNull = 1e-6;         // relative to the largest singular value
constexpr double kTie = 1e-6;          // relative: entries this close count as equal
constexpr double kIndependent = 1e-3;  // residual length of an independent unit vector

/// Returns the sign of each column's largest entry, the first one among ties.
at::Tensor signs(const at::Tensor& columns) {
  const at::Tensor size = columns.abs();
  const at::Tensor largest = size.ge(size.amax(0, true).mul(1.0 - kTie)).to(at::kByte).argmax(0, true);
  return columns.gather(0, largest).sign();
}

/// Extends orthonormal columns [n,r] to [n,width].
at::Tensor completed(const at::Tensor& basis, int64_t width) {
  const int64_t n = basis.size(0);
  at::Tensor all = at::zeros({n, width}, basis.options());
  int64_t count = basis.size(1);
  all.narrow(1, 0, count).copy_(basis);
  for (int64_t i = 0; i < n && count < width; ++i) {
    at::Tensor unit = at::zeros({n}, basis.options());
    unit[i] = 1.0;
    const at::Tensor known = all.narrow(1, 0, count);
    for (int pass = 0; pass < 2; ++pass) unit.sub_(known.mv(known.t().mv(unit)));
    const double length = at::linalg_vector_norm(unit).item<double>();
    if (length > kIndependent) all.select(1, count++).copy_(unit.div_(length));
  }
  return all;
}

}  // namespace

Svd canonical_svd(const at::Tensor& matrix) {
  const auto [u, s, vh] = at::linalg_svd(matrix.to(at::kCPU, at::kDouble), false);
  return canonical({u, s, vh});
}

Svd canonical(const Svd& any) {
  const int64_t k = any.s.size(0), rank = any.s.gt(any.s[0].mul(kNull)).sum().item<int64_t>();
  const at::Tensor u = any.u.narrow(1, 0, rank), sign = signs(u);
  Svd result{.u = completed(u.mul(sign), u.size(0)),
             .s = any.s.clone(),
             .vh = completed(any.vh.narrow(0, 0, rank).mul(sign.t()).t(), k).t()};
  result.s.narrow(0, rank, k - rank).zero_();
  return result;
}

}  // namespace glint::released
