// The decomposition the released networks look at does not depend on which LAPACK made it.
#include "network/released/canonical_svd.hpp"
#include "network/released/text_decomposition.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/runs.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>

#include <Eigen/SVD>

namespace glint::released {
namespace GLINT_TEST_FILE {

at::Tensor normal(int64_t m, int64_t n, uint64_t seed) {
  return NoiseStream(seed, 1).normal({m, n}, at::kDouble)[0];
}

double largest(const at::Tensor& t) { return t.abs().max().item<double>(); }

void check_same(const Svd& a, const Svd& b) {
  // Condition of singular vectors: 1e-16 over the smallest relative distance of singular values, some 1e-3
  // here.
  CHECK(largest(a.u - b.u) < 1e-11);
  CHECK(largest(a.s - b.s) < 1e-12);
  CHECK(largest(a.vh - b.vh) < 1e-11);
}

void check_decomposes(const Svd& svd, const at::Tensor& m) {
  const int64_t k = svd.s.size(0);
  CHECK(largest(svd.u.narrow(1, 0, k).mul(svd.s).matmul(svd.vh) - m) < 1e-11);
  CHECK(largest(svd.u.t().matmul(svd.u) - at::eye(svd.u.size(0), at::kDouble)) < 1e-12);
  CHECK(largest(svd.vh.matmul(svd.vh.t()) - at::eye(k, at::kDouble)) < 1e-12);
}

TEST_CASE("Signs that a LAPACK may choose otherwise change nothing", "[unit]") {
  for (const auto& [m, n] : {std::pair{12, 12}, {6, 20}, {20, 6}}) {
    const at::Tensor matrix = normal(m, n, 1);
    const Svd svd = canonical_svd(matrix);
    CAPTURE(m, n);
    check_decomposes(svd, matrix);
    const auto [u, s, vh] = at::linalg_svd(matrix, false);
    for (uint64_t seed : {2, 3, 4}) {
      const at::Tensor flips = normal(1, s.size(0), seed).sign();
      check_same(canonical({u * flips, s, vh * flips.t()}), svd);
    }
  }
}

TEST_CASE("Another algorithm's decomposition becomes the same one", "[unit]") {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const at::Tensor matrix = normal(10, 14, 5);
  const Matrix copy = Eigen::Map<const Matrix>(matrix.data_ptr<double>(), 10, 14);
  const Eigen::JacobiSVD<Matrix> jacobi(copy, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const auto tensor = [](const Matrix& m) {
    at::Tensor t = at::empty({m.rows(), m.cols()}, at::kDouble);
    std::copy(m.data(), m.data() + m.size(), t.data_ptr<double>());
    return t;
  };
  check_same(canonical({tensor(jacobi.matrixU()), tensor(jacobi.singularValues()).flatten(),
                        tensor(jacobi.matrixV().transpose())}),
             canonical_svd(matrix));
}

TEST_CASE("Directions without a singular value are the unit vectors, whatever basis they came in", "[unit]") {
  // Zeros above, as without a negative prompt: rank 5 of 10 rows.
  const at::Tensor matrix = at::cat({at::zeros({5, 16}, at::kDouble), normal(5, 16, 6)});
  const Svd svd = canonical_svd(matrix);
  check_decomposes(svd, matrix);
  CHECK(largest(svd.u.narrow(1, 5, 5).narrow(0, 0, 5) - at::eye(5, at::kDouble)) < 1e-12);
  const auto [u, s, vh] = at::linalg_svd(matrix, false);
  const at::Tensor turn = std::get<0>(at::linalg_qr(normal(5, 5, 7)));
  const at::Tensor turned = at::cat({u.narrow(1, 0, 5), u.narrow(1, 5, 5).matmul(turn)}, 1);
  check_same(canonical({turned, s, at::cat({vh.narrow(0, 0, 5), turn.t().matmul(vh.narrow(0, 5, 5))})}), svd);
  // Two equal rows: one direction without a value, whose largest entries tie with opposite signs.
  const at::Tensor row = normal(1, 16, 8);
  const at::Tensor twice = at::cat({row, normal(3, 16, 9), row, normal(3, 16, 10)});
  const Svd tied = canonical_svd(twice);
  check_decomposes(tied, twice);
  CHECK(tied.s[7].item<double>() == 0.0);
  CHECK(tied.u[0][7].item<double>() > 0.7);
  CHECK(tied.u[4][7].item<double>() < -0.7);
}

TEST_CASE("More rows than columns: U is square all the same", "[unit]") {
  const at::Tensor matrix = normal(9, 4, 11);
  const Svd svd = canonical_svd(matrix);
  CHECK(svd.u.sizes() == at::IntArrayRef({9, 9}));
  check_decomposes(svd, matrix);
}

TEST_CASE("A prompt's decomposition is remembered, for as many prompts as fit", "[unit]") {
  TextDecomposition remembered;
  const at::Tensor first = normal(4, 6, 1);
  const Svd svd = remembered(first);
  CHECK(remembered(first.clone()).u.is_same(svd.u));
  for (uint64_t seed = 2; seed < 9; ++seed)
    CHECK(at::equal(remembered(normal(4, 6, seed)).u, canonical_svd(normal(4, 6, seed)).u));
  CHECK_FALSE(remembered(first).u.is_same(svd.u));
}

}  // namespace GLINT_TEST_FILE

}  // namespace glint::released
