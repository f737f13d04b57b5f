// Singular value decomposition without its freedom, for networks that look at singular vectors.
#pragma once

#include <glint/core/tensor.hpp>

namespace glint::released {

/// U [m,m], s [k], Vh [k,n], k = min(m,n), float64 on the CPU.
struct Svd {
  at::Tensor u, s, vh;
};

/// Returns the decomposition of a matrix [m,n] that `canonical` makes of LAPACK's.
Svd canonical_svd(const at::Tensor& matrix);

/// Returns, given any decomposition of a matrix (u [m,k] at least), the one in which the largest entry of
/// each column of U is positive, and directions whose singular value is below 1e-6 of the largest are, in
/// their order, the unit vectors made orthogonal to the others, with values of 0. So it does not depend on a
/// LAPACK's signs and null spaces. What is left open is where singular values coincide.
Svd canonical(const Svd& any);

}  // namespace glint::released
