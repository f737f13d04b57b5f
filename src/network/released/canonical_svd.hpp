// A singular value decomposition made unique, for networks that read singular vectors.
#pragma once

#include <glint/core/tensor.hpp>

namespace glint::released {

/// U [m,m], s [k], Vh [k,n], k = min(m,n), float64 on the CPU.
struct Svd {
  at::Tensor u, s, vh;
};

/// Returns canonical(LAPACK's decomposition of `matrix` [m,n]).
Svd canonical_svd(const at::Tensor& matrix);

/// Makes any decomposition of a matrix (u at least [m,k]) canonical: the largest entry of each column of U is
/// positive; directions with singular values below 1e-6 of the largest get value 0 and are replaced, in
/// order, by unit vectors orthogonalised against the others. The result then does not depend on LAPACK's
/// signs and null spaces, only on its choice where singular values coincide.
Svd canonical(const Svd& any);

}  // namespace glint::released
