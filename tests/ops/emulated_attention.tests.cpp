// The CUDA kernels, executed in the emulator: the recorded cases, then the CPU's operators at odd sizes, then
// faults made on purpose.
#include "tests/support/emulated_attention.hpp"
#include "tests/support/attention_cases.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>

namespace glint {
namespace GLINT_TEST_FILE {

using test::AttentionCase;
using test::difference;
using test::Emulation;
using test::Inputs;

ops::Rows rows_of(const at::Tensor& x) {
  const ops::Element element = x.scalar_type() == at::kFloat  ? ops::Element::Float32
                               : x.scalar_type() == at::kHalf ? ops::Element::Float16
                                                              : ops::Element::BFloat16;
  return {x.data_ptr(), element, x.stride(0), x.stride(1), x.stride(2), x.size(2), x.size(3)};
}

/// The operands of a call and its result, in the operators' memory order.
struct Call {
  at::Tensor out;
  ops::Operands operands;

  explicit Call(const Inputs& x)
      : out(at::empty({x.q.size(0), x.q.size(2), x.q.size(1), x.v.size(3)}, x.q.options()).transpose(1, 2)),
        operands{x.q.size(0), x.q.size(1), rows_of(x.q), rows_of(x.k), rows_of(x.v), rows_of(out)} {}
};

ops::BlockList list_of(const at::Tensor& blocks) {
  return blocks.defined() ? ops::BlockList{blocks.data_ptr<int32_t>(), blocks.size(-1)}
                          : ops::BlockList{nullptr, 0};
}

at::Tensor emulated_selection(Emulation& e, const Inputs& x, const PisaOptions& options) {
  const int64_t rows = ops::Grid{x.q.size(2), options.block_size}.blocks();
  const int64_t count = ops::budget(options.density, ops::Grid{x.k.size(2), options.block_size}.blocks());
  at::Tensor selected = at::empty({x.q.size(0), x.q.size(1), rows, count}, at::kInt);
  emulated_pisa_select(e, Call(x).operands, options, list_of(selected));
  return selected;
}

at::Tensor emulated(Emulation& e, const Inputs& x, const PisaOptions& options,
                    const at::Tensor& selected = {}) {
  const Call call(x);
  const at::Tensor blocks = selected.defined() ? selected.to(at::kInt).contiguous() : selected;
  emulated_pisa(e, call.operands, options, list_of(blocks));
  return call.out;
}

ops::PlanLists lists_of(const IsaPlan& plan) {
  return {list_of(plan.context_blocks), list_of(plan.sharp_blocks), list_of(plan.diffuse_blocks),
          list_of(plan.exact_blocks)};
}

/// A plan of the sizes that `like` has.
IsaPlan emulated_plan(Emulation& e, const Inputs& x, const IsaOptions& options, const IsaPlan& like) {
  IsaPlan plan{at::full_like(like.context_blocks, -1), at::full_like(like.sharp_blocks, -1),
               at::full_like(like.diffuse_blocks, -1), at::full_like(like.exact_blocks, -1)};
  emulated_isa_plan(e, Call(x).operands, options, lists_of(plan));
  return plan;
}

/// `gate` [B,S] or [B,H,S].
at::Tensor emulated(Emulation& e, const Inputs& x, const IsaOptions& options, const IsaPlan& plan,
                    const at::Tensor& gate) {
  const Call call(x);
  const at::Tensor g = gate.to(at::kFloat).contiguous();
  const bool shared = g.dim() == 2;
  emulated_isa(e, call.operands, options, lists_of(plan),
               {g.data_ptr<float>(), g.stride(0), shared ? 0 : g.stride(1), g.stride(-1)});
  return call.out;
}

/// Unit normal values and scores of size 1 in float32, as for the CPU's kernels. With 16-bit elements the
/// weights, the means and the moment are rounded too before the matrix units take them: a few roundings of
/// the type.
double tolerance(at::ScalarType type) {
  return type == at::kFloat ? 2e-6 : type == at::kHalf ? 2e-3 : 1.6e-2;
}

/// What a recorded case allows. The CPU's kernels add float32 in eight lanes; a thread of a GPU adds a whole
/// row in turn, whose rounding (1.3e-6 at most here) is a little beyond the recorded bound for the CPU.
double allowed(const AttentionCase& c) { return std::max(c.tolerance, 2e-6); }

TEST_CASE("Emulated PISA equals every recorded case of its type", "[ops]") {
  const std::string name = GENERATE(as<std::string>{}, "pisa_01_n256_d64", "pisa_06_n300_d96_b32",
                                    "pisa_10_n640_b16_g32", "pisa_15_n320_d64_fp16", "pisa_16_n509_d64_bf16",
                                    "isa0_03_q192_k509_bf16", "isa0_04_k1280_g16");
  CAPTURE(name);
  Emulation e;
  e.options.count_banks = false;
  const AttentionCase c = test::attention_case(name);
  CHECK(difference(emulated(e, c.x, test::pisa_options(c), c.tensors.at("indices")), c.tensors.at("out")) <=
        allowed(c));
  if (c.meta["op"] == "pisa")
    CHECK(at::equal(emulated_selection(e, c.x, test::pisa_options(c)),
                    std::get<0>(c.tensors.at("indices").sort(-1))));
}

TEST_CASE("Emulated PISA on matrix units equals the recorded float32 cases as float16 allows", "[ops]") {
  const std::string name = GENERATE(as<std::string>{}, "pisa_01_n256_d64", "isa0_04_k1280_g16");
  CAPTURE(name);
  Emulation e;
  const AttentionCase c = test::attention_case(name, "float16");
  CHECK(difference(emulated(e, c.x, test::pisa_options(c), c.tensors.at("indices")), c.tensors.at("out")) <=
        tolerance(at::kHalf));
  CHECK(e.attention.multiplies > 0);
  CHECK(e.attention.worst_conflict() <= 2);
}

TEST_CASE("Emulated PISA of order first equals the recorded case", "[ops]") {
  Emulation e;
  e.options.count_banks = false;
  const AttentionCase c = test::attention_case("pisa_01_n256_d64");
  PisaOptions options = test::pisa_options(c);
  options.order = TaylorOrder::First;
  CHECK(difference(emulated(e, c.x, options, c.tensors.at("indices")), c.tensors.at("out_first")) <=
        allowed(c));
}

TEST_CASE("Emulated ISA takes the authors' decisions and equals the formula", "[ops]") {
  const std::string type = GENERATE("float32", "float16");
  const AttentionCase c = test::attention_case("isa_02_s1280_d128_gate", type);
  const IsaOptions options = test::isa_options(c);
  const IsaPlan theirs{c.tensors.at("context_blocks"), c.tensors.at("sharp_blocks"),
                       c.tensors.at("diffuse_blocks"), c.tensors.at("exact_blocks")};
  Emulation e;
  e.options.count_banks = false;
  const IsaPlan plan = emulated_plan(e, c.x, options, theirs);
  CHECK(at::equal(plan.context_blocks, theirs.context_blocks));
  CHECK(at::equal(plan.sharp_blocks, theirs.sharp_blocks));
  CHECK(at::equal(plan.diffuse_blocks, theirs.diffuse_blocks));
  CHECK(at::equal(plan.exact_blocks, theirs.exact_blocks));
  CHECK(difference(emulated(e, c.x, options, plan, c.tensors.at("gate")), c.tensors.at("out")) <= allowed(c));
}

TEST_CASE("Emulated PISA equals the CPU's at odd lengths and head sizes, on matrix units or not", "[ops]") {
  struct Size {
    int64_t n, m, d, e, block;
  };
  const auto s = GENERATE(Size{1, 1, 8, 8, 64}, Size{63, 65, 64, 64, 64}, Size{130, 200, 40, 24, 64},
                          Size{129, 321, 128, 96, 64}, Size{70, 90, 33, 130, 17});
  const auto type = GENERATE(at::kFloat, at::kHalf, at::kBFloat16);
  const auto order = GENERATE(TaylorOrder::Zeroth, TaylorOrder::Hybrid);
  CAPTURE(s.n, s.m, s.d, s.e, s.block, at::toString(type), static_cast<int>(order));
  const Inputs x = test::inputs(1, s.n, s.m, s.d, s.e).to(type);
  PisaOptions options;
  options.density = 0.4;
  options.block_size = s.block;
  options.order = order;
  options.selection = order == TaylorOrder::Zeroth ? BlockSelection::Variance : BlockSelection::Covariance;
  Emulation e;
  const at::Tensor selected = pisa_select(x.q, x.k, x.v, options);
  CHECK(at::equal(emulated_selection(e, x, options), selected));
  CHECK(difference(emulated(e, x, options), pisa(x.q, x.k, x.v, options, selected)) < tolerance(type));
  CHECK((e.attention.multiplies > 0) == (type != at::kFloat && s.block == 64 && s.d % 8 == 0));
  CHECK(e.attention.worst_conflict() <= 2);
  CHECK(e.statistics.worst_conflict() <= 2);
}

TEST_CASE("Emulated selection breaks ties to the lowest index and takes forced blocks", "[ops]") {
  Inputs x = test::inputs(3, 64, 640, 32, 32, 1);
  PisaOptions options;
  options.density = 0.5;
  options.block_size = 16;
  options.selection = BlockSelection::Mean;
  Emulation e;
  x.k.zero_();
  at::Tensor selected = emulated_selection(e, x, options);
  for (int64_t i = 0; i < 20; ++i) CHECK((selected.select(-1, i) == i).all().item<bool>());
  options.density = 0.06;  // two of forty
  options.forced_blocks = {-1, 7};
  selected = emulated_selection(e, x, options);
  CHECK((selected.select(-1, 0) == 7).all().item<bool>());
  CHECK((selected.select(-1, 1) == 39).all().item<bool>());
}

TEST_CASE("Emulated PISA follows strides, scales of any sign, and the whole list", "[ops]") {
  const double scale = GENERATE(0.0, -0.3, 1.0);
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  CAPTURE(scale, at::toString(type));
  const Inputs x = test::inputs(5, 100, 150, 64, 64).to(type).heads_inside();
  PisaOptions options;
  options.scale = scale;
  options.density = 0.4;
  Emulation e;
  const at::Tensor selected = pisa_select(x.q, x.k, x.v, options);
  const double allowed = tolerance(type) * std::max(1.0, 10.0 * std::abs(scale));
  CHECK(difference(emulated(e, x, options, selected), pisa(x.q, x.k, x.v, options, selected)) < allowed);
  options.density = 1.0;
  CHECK(difference(emulated(e, x, options), test::sdpa(x.to(at::kDouble), scale)) < allowed);
}

TEST_CASE("Emulated ISA equals the CPU's, aligned or as the released code pads", "[ops]") {
  struct Size {
    int64_t main, tokens;
  };
  const auto s = GENERATE(Size{256, 512}, Size{200, 430}, Size{40, 300}, Size{130, 130}, Size{1, 1});
  const bool padded = GENERATE(false, true);
  const auto type = GENERATE(at::kFloat, at::kHalf);
  CAPTURE(s.main, s.tokens, padded, at::toString(type));
  const Inputs x = test::inputs(9, s.tokens, s.tokens, 48, 40).to(type);
  IsaOptions options;
  options.main_length = s.main;
  options.context_keep = 0.5;
  options.density = 0.3;
  options.padded_tail = padded;
  const at::Tensor gate = test::normal(99, {1, 2, s.tokens});
  const IsaPlan theirs = isa_plan(x.q, x.k, options);
  Emulation e;
  const IsaPlan plan = emulated_plan(e, x, options, theirs);
  CHECK(at::equal(plan.context_blocks, theirs.context_blocks));
  CHECK(at::equal(plan.sharp_blocks, theirs.sharp_blocks));
  CHECK(at::equal(plan.diffuse_blocks, theirs.diffuse_blocks));
  CHECK(at::equal(plan.exact_blocks, theirs.exact_blocks));
  CHECK(difference(emulated(e, x, options, theirs, gate), isa(x.q, x.k, x.v, options, theirs, gate)) <
        tolerance(type) * 2);  // the gated coarse attention is rounded with the result
}

struct Small {
  Inputs x = test::inputs(6, 128, 500, 64, 64, 1).to(at::kHalf);
  PisaOptions options;
  at::Tensor selected;

  explicit Small(int64_t d = 64) : x(test::inputs(6, 128, 500, d, d, 1).to(at::kHalf)) {
    options.density = 0.4;
    selected = pisa_select(x.q, x.k, x.v, options);
  }
};

TEST_CASE("The order in which threads run changes no bit", "[ops]") {
  const Small s;
  Emulation forward, backward;
  backward.options.reverse = true;
  CHECK(at::equal(emulated(forward, s.x, s.options), emulated(backward, s.x, s.options)));
}

TEST_CASE("A missing wait for copies is caught in the attention kernel", "[ops]") {
  const int64_t d = GENERATE(64, 128);
  const int wait = GENERATE(0, 1, 2, 3, 4);
  CAPTURE(d, wait);
  const Small s(d);
  Emulation e;
  e.options.drop_wait = wait;
  CHECK_THROWS_AS(emulated(e, s.x, s.options, s.selected), simt::Fault);
}

TEST_CASE("A missing barrier is caught in the attention kernel", "[ops]") {
  const int64_t d = GENERATE(64, 128);
  const int barrier = GENERATE(0, 1, 2, 3, 4);
  CAPTURE(d, barrier);
  const Small s(d);
  Emulation e;
  e.options.drop_barrier = barrier;
  CHECK_THROWS_AS(emulated(e, s.x, s.options, s.selected), simt::Fault);
}

TEST_CASE("Two registers of a fragment exchanged show in the result", "[ops]") {
  const int product = GENERATE(0, 40, 70);
  const Small s;
  Emulation right, wrong;
  wrong.options.swap_fragment = product;
  const at::Tensor expected = pisa(s.x.q, s.x.k, s.x.v, s.options, s.selected);
  CHECK(difference(emulated(right, s.x, s.options, s.selected), expected) < tolerance(at::kHalf));
  CHECK(difference(emulated(wrong, s.x, s.options, s.selected), expected) > 2 * tolerance(at::kHalf));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
