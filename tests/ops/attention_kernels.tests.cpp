// The vector kernels against the scalar reference, at sizes that leave remainders everywhere.
#include "ops/kernels.hpp"
#include "tests/support/attention.hpp"
#include "tests/support/threads.hpp"

#include <ATen/ops/equal.h>

namespace glint {
namespace GLINT_TEST_FILE {

using test::difference;
using test::Inputs;
using test::inputs;

// Unit normal values and scores of size 1: float32 sums of a few hundred terms. The worst seen is 6e-7.
constexpr double kFloat32 = 2e-6;

PisaOptions options_of(double density, int64_t block, TaylorOrder order = TaylorOrder::Hybrid,
                       BlockSelection selection = BlockSelection::Covariance) {
  PisaOptions options;
  options.density = density;
  options.block_size = block;
  options.order = order;
  options.selection = selection;
  return options;
}

double error_of_pisa(const Inputs& x, const PisaOptions& options) {
  const at::Tensor selected = pisa_select(x.q, x.k, x.v, options);
  return difference(pisa(x.q, x.k, x.v, options), test::reference_pisa(x, options, selected));
}

TEST_CASE("PISA equals the reference at odd lengths, head sizes and block sizes", "[ops]") {
  struct Size {
    int64_t n, m, d, e, block;
  };
  const auto s =
      GENERATE(Size{1, 1, 1, 1, 64}, Size{2, 3, 5, 7, 2}, Size{63, 63, 40, 40, 64}, Size{64, 64, 64, 64, 64},
               Size{65, 65, 33, 33, 64}, Size{200, 331, 72, 24, 17}, Size{129, 500, 128, 128, 64},
               Size{150, 150, 256, 256, 32}, Size{300, 300, 16, 16, 1}, Size{520, 520, 96, 80, 256});
  const auto order = GENERATE(TaylorOrder::Zeroth, TaylorOrder::Hybrid, TaylorOrder::First);
  CAPTURE(s.n, s.m, s.d, s.e, s.block, static_cast<int>(order));
  CHECK(error_of_pisa(inputs(1, s.n, s.m, s.d, s.e), options_of(0.3, s.block, order)) < kFloat32);
}

TEST_CASE("Selection equals the reference's where scores differ by more than rounding", "[ops]") {
  const auto selection = GENERATE(BlockSelection::Mean, BlockSelection::Covariance, BlockSelection::Variance);
  const Inputs x = inputs(2, 333, 410, 48, 48);
  PisaOptions options = options_of(0.2, 16, TaylorOrder::Zeroth, selection);
  options.forced_blocks = {0, -1};
  const at::Tensor selected = pisa_select(x.q, x.k, x.v, options);
  for (int64_t h = 0; h < 2; ++h) {
    const ops::reference::Head head{test::matrix(x.q[0][h]), test::matrix(x.k[0][h]),
                                    test::matrix(x.v[0][h])};
    CHECK(test::block_rows(selected[0][h]) == ops::reference::pisa_select(head, options));
  }
}

TEST_CASE("Ties in the selection go to the lowest index", "[ops]") {
  Inputs x = inputs(3, 64, 256, 32, 32);
  x.k = at::zeros_like(x.k);
  const at::Tensor selected =
      pisa_select(x.q, x.k, x.v, options_of(0.5, 32, TaylorOrder::Zeroth, BlockSelection::Mean));
  for (int64_t i = 0; i < 4; ++i) CHECK((selected.select(-1, i) == i).all().item<bool>());
}

TEST_CASE("Float16 and bfloat16 are rounded once, on the way out", "[ops]") {
  const auto type = GENERATE(at::kHalf, at::kBFloat16);
  const Inputs x = inputs(4, 200, 72).to(type);
  const PisaOptions options = options_of(0.4, 32);
  const at::Tensor selected = pisa_select(x.q, x.k, x.v, options);
  const at::Tensor exact = test::reference_pisa(x, options, selected);
  const double rounding = type == at::kHalf ? 0x1p-11 : 0x1p-8;
  const at::Tensor error = (pisa(x.q, x.k, x.v, options).to(at::kDouble) - exact).abs();
  CHECK((error - exact.abs() * rounding).max().item<double>() < kFloat32);
}

TEST_CASE("Strides change nothing but where results lie", "[ops]") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const Inputs x = inputs(5, 190, 64).to(type), inside = x.heads_inside();
  const at::Tensor out = pisa(inside.q, inside.k, inside.v, options_of(0.3, 32));
  CHECK(at::equal(out, pisa(x.q, x.k, x.v, options_of(0.3, 32))));
  CHECK(out.transpose(1, 2).is_contiguous());
  const at::Tensor column_major = x.k.transpose(2, 3).contiguous().transpose(2, 3);
  CHECK(at::equal(out, pisa(x.q, column_major, x.v, options_of(0.3, 32))));
}

TEST_CASE("The number of threads changes no bit", "[ops]") {
  const Inputs x = inputs(6, 700, 700, 64, 64, 3, 2);
  std::vector<at::Tensor> out;
  for (int threads : {1, 2, 3}) {
    const test::Threads guard(threads);
    out.push_back(pisa(x.q, x.k, x.v, options_of(0.2, 16)));
  }
  CHECK(at::equal(out[0], out[1]));
  CHECK(at::equal(out[0], out[2]));
}

TEST_CASE("Scales of any sign and size are the scores'", "[ops]") {
  const double scale = GENERATE(0.0, -0.3, 1e-3, 1.0, 3.0);
  CAPTURE(scale);
  PisaOptions options = options_of(0.4, 16);
  options.scale = scale;
  const Inputs x = inputs(7, 100, 24);
  // Scores of size 3 * 24 * a few are rounded to 24 bits.
  CHECK(error_of_pisa(x, options) < kFloat32 * std::max(1.0, 10.0 * std::abs(scale)));
  options.density = 1.0;
  CHECK(difference(pisa(x.q, x.k, x.v, options), test::sdpa(x.to(at::kDouble), scale)) <
        kFloat32 * std::max(1.0, 10.0 * std::abs(scale)));
}

TEST_CASE("Every instruction set computes the same", "[ops]") {
  const int64_t bytes = GENERATE(4, 16, 32, 64);
  ops::limit_vectors(bytes);
  CAPTURE(bytes, ops::kernel_target());
  for (TaylorOrder order : {TaylorOrder::Hybrid, TaylorOrder::First})
    CHECK(error_of_pisa(inputs(10, 150, 217, 72, 44), options_of(0.3, 20, order)) < kFloat32);
  for (at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    const Inputs x = inputs(10, 150, 217, 72, 44).to(type);
    const PisaOptions options = options_of(0.3, 20);
    const at::Tensor exact = test::reference_pisa(x, options, pisa_select(x.q, x.k, x.v, options));
    const at::Tensor error = (pisa(x.q, x.k, x.v, options).to(at::kDouble) - exact).abs();
    CHECK((error - exact.abs() * (type == at::kHalf ? 0x1p-11 : 0x1p-8)).max().item<double>() < kFloat32);
  }
  ops::limit_vectors(64);
}

TEST_CASE("NaN in a query stays in its row", "[ops]") {
  Inputs x = inputs(8, 96, 32);
  x.q[0][1][40][3] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor out =
      pisa(x.q, x.k, x.v, options_of(0.5, 16), pisa_select(x.k, x.k, x.v, options_of(0.5, 16)));
  CHECK(out[0][1][40].isnan().all().item<bool>());
  CHECK(out.isnan().sum().item<int64_t>() == 32);
}

TEST_CASE("ISA equals the reference, aligned or as the released code pads", "[ops]") {
  struct Size {
    int64_t main, tokens;
  };
  const auto s =
      GENERATE(Size{512, 1024}, Size{500, 1000}, Size{512, 1012}, Size{40, 300}, Size{300, 300}, Size{1, 1});
  const bool padded = GENERATE(false, true);
  CAPTURE(s.main, s.tokens, padded);
  const Inputs x = inputs(9, s.tokens, s.tokens, 48, 40);
  IsaOptions options;
  options.main_length = s.main;
  options.context_keep = 0.3;
  options.padded_tail = padded;
  const at::Tensor gate = test::normal(99, {1, 2, s.tokens});
  const at::Tensor expected = test::per_head(x, [&](const ops::reference::Head& head, int64_t b, int64_t h) {
    const at::Tensor g = gate[b][h].to(at::kDouble).contiguous();
    return ops::reference::isa(head, options, ops::reference::isa_plan(head, options),
                               {g.data_ptr<double>(), g.data_ptr<double>() + g.numel()});
  });
  CHECK(difference(isa(x.q, x.k, x.v, options, gate), expected) < kFloat32);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
