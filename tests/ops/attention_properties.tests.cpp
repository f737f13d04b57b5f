// What must hold of PISA and ISA whatever the numbers.
#include "tests/support/attention.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

namespace glint {
namespace GLINT_TEST_FILE {

using test::difference;
using test::Inputs;
using test::inputs;

constexpr double kFloat32 = 2e-6;  // rounding of float32 sums, for values of size 1

const std::vector<TaylorOrder> kOrders{TaylorOrder::Zeroth, TaylorOrder::Hybrid, TaylorOrder::First};

PisaOptions options_of(TaylorOrder order, double density = 0.25, int64_t block = 32) {
  PisaOptions options;
  options.order = order;
  options.density = density;
  options.block_size = block;
  return options;
}

/// Keys that are their block's mean plus eps times noise.
Inputs clustered(uint64_t seed, int64_t blocks, int64_t block, double eps) {
  Inputs x = inputs(seed, blocks * block, 64);
  const at::Tensor means = test::normal(seed + 1000, {1, 2, blocks, 1, 64}).expand({1, 2, blocks, block, 64});
  at::Tensor noise = x.k.view({1, 2, blocks, block, 64});
  noise = noise - noise.mean(3, true);
  x.k = (means + noise * eps).reshape({1, 2, blocks * block, 64});
  return x;
}

TEST_CASE("Density 1 is dense attention", "[ops]") {
  const Inputs x = inputs(11, 257, 64);
  for (TaylorOrder order : kOrders)
    CHECK(difference(pisa(x.q, x.k, x.v, options_of(order, 1.0)), test::sdpa(x.to(at::kDouble))) < kFloat32);
}

TEST_CASE("One block or less is dense attention", "[ops]") {
  const int64_t tokens = GENERATE(1, 2, 63, 64);
  const Inputs x = inputs(12, tokens, 32);
  CHECK(difference(pisa(x.q, x.k, x.v), test::sdpa(x.to(at::kDouble))) < kFloat32);
}

TEST_CASE("Keys that are equal within every block make any density exact", "[ops]") {
  const Inputs x = clustered(13, 10, 32, 0.0);
  for (TaylorOrder order : kOrders)
    for (double density : {0.0, 0.3})
      CHECK(difference(pisa(x.q, x.k, x.v, options_of(order, density)), test::sdpa(x.to(at::kDouble))) <
            kFloat32);
}

TEST_CASE("Rows sum to one: constant values stay what they are", "[ops]") {
  Inputs x = inputs(14, 1000, 64);
  x.v = at::full_like(x.v, 3.0);
  for (TaylorOrder order : kOrders)
    CHECK(difference(pisa(x.q, x.k, x.v, options_of(order, 0.1)), x.v) < 3 * kFloat32);
}

TEST_CASE("The error falls with the spread of keys by each order's power", "[ops]") {
  // Query blocks read block 0 exactly and the other seven by expansion.
  const auto error = [](TaylorOrder order, double eps) {
    const Inputs x = clustered(15, 8, 32, eps);
    const at::Tensor first = at::zeros({1, 2, 8, 1}, at::kInt);
    return difference(pisa(x.q, x.k, x.v, options_of(order), first), test::sdpa(x.to(at::kDouble)));
  };
  // From one eight to one sixteenth: halved, and quartered.
  const double zeroth = error(TaylorOrder::Zeroth, 0.125) / error(TaylorOrder::Zeroth, 0.0625);
  const double first = error(TaylorOrder::First, 0.125) / error(TaylorOrder::First, 0.0625);
  const double hybrid = error(TaylorOrder::Hybrid, 0.125) / error(TaylorOrder::Hybrid, 0.0625);
  CAPTURE(zeroth, first, hybrid);
  CHECK(zeroth == Approx(2.0).margin(0.35));
  CHECK(hybrid == Approx(2.0).margin(0.35));  // the blocks' moments differ, so it is no better than zeroth
  CHECK(first == Approx(4.0).margin(0.7));
}

TEST_CASE("Whole key blocks may come in any order", "[ops]") {
  const Inputs x = inputs(16, 256, 64);
  const at::Tensor order = at::arange(7, -1, -1, at::kLong);
  const auto permuted = [&](const at::Tensor& t) {
    return t.view({1, 2, 8, 32, 64}).index_select(2, order).reshape(t.sizes());
  };
  for (TaylorOrder taylor : kOrders)
    CHECK(difference(pisa(x.q, permuted(x.k), permuted(x.v), options_of(taylor)),
                     pisa(x.q, x.k, x.v, options_of(taylor))) < kFloat32);
}

TEST_CASE("Keys within a block may come in any order", "[ops]") {
  const Inputs x = inputs(26, 250, 64);  // the last block is short
  std::vector<int64_t> order(250);
  for (int64_t i = 0; i < 250; ++i) {
    const int64_t begin = i / 32 * 32, end = std::min<int64_t>(begin + 32, 250);
    order[static_cast<size_t>(i)] = end - 1 - (i - begin);
  }
  const at::Tensor index = at::tensor(order);
  for (TaylorOrder taylor : kOrders)
    CHECK(difference(pisa(x.q, x.k.index_select(2, index), x.v.index_select(2, index), options_of(taylor)),
                     pisa(x.q, x.k, x.v, options_of(taylor))) < kFloat32);
}

TEST_CASE("The result is affine in the values for given blocks", "[ops]") {
  const Inputs x = inputs(27, 256, 64);
  const at::Tensor other = test::normal(28, {1, 2, 256, 64}), shift = test::normal(29, {1, 2, 1, 64});
  const at::Tensor blocks = pisa_select(x.q, x.k, x.v, options_of(TaylorOrder::Hybrid));
  for (TaylorOrder taylor : kOrders) {
    const auto of = [&](const at::Tensor& v) { return pisa(x.q, x.k, v, options_of(taylor), blocks); };
    // Terms of size up to 2, hence twice the rounding.
    CHECK(difference(of(x.v * 2.0 - other + shift), of(x.v) * 2.0 - of(other) + shift) < 4 * kFloat32);
  }
}

TEST_CASE("Heads and batch entries do not see each other", "[ops]") {
  const Inputs x = inputs(17, 200, 200, 32, 32, 3, 2);
  const auto part = [&](int64_t b, int64_t h) {
    const auto of = [&](const at::Tensor& t) { return t.narrow(0, b, 1).narrow(1, h, 1); };
    return pisa(of(x.q), of(x.k), of(x.v), options_of(TaylorOrder::Hybrid));
  };
  const at::Tensor whole = pisa(x.q, x.k, x.v, options_of(TaylorOrder::Hybrid));
  CHECK(at::equal(whole.narrow(0, 1, 1).narrow(1, 2, 1), part(1, 2)));
  CHECK(at::equal(whole.narrow(0, 0, 1).narrow(1, 0, 1), part(0, 0)));
}

TEST_CASE("Adding one vector to all keys changes nothing for given blocks", "[ops]") {
  const Inputs x = inputs(18, 256, 64);
  const at::Tensor selected = pisa_select(x.q, x.k, x.v, options_of(TaylorOrder::Hybrid));
  const at::Tensor moved = x.k + test::normal(19, {1, 2, 1, 64});
  // Scores grow by |q| |vector| / 8, some 8, and their rounding with them.
  for (TaylorOrder order : kOrders)
    CHECK(difference(pisa(x.q, moved, x.v, options_of(order), selected),
                     pisa(x.q, x.k, x.v, options_of(order), selected)) < 5 * kFloat32);
}

TEST_CASE("ISA that keeps everything is dense attention, plus the gated coarse one", "[ops]") {
  const int64_t main = GENERATE(256, 300);
  const Inputs x = inputs(20, 640, 64);
  IsaOptions options;
  options.main_length = main;
  options.context_keep = 1.0;
  options.sharp_share = 1.0;
  CHECK(difference(isa(x.q, x.k, x.v, options), test::sdpa(x.to(at::kDouble))) < kFloat32);
  options.sharp_share = 0.0;
  options.density = 1.0;
  CHECK(difference(isa(x.q, x.k, x.v, options), test::sdpa(x.to(at::kDouble))) < kFloat32);
  const at::Tensor gate = at::ones({1, 640});
  CHECK(difference(isa(x.q, x.k, x.v, options, gate * 0), isa(x.q, x.k, x.v, options)) == 0.0);
  const Inputs constant{x.q, x.k, at::full_like(x.v, 1.0)};
  CHECK(difference(isa(constant.q, constant.k, constant.v, options, gate), constant.v * 2.0) < 2 * kFloat32);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
