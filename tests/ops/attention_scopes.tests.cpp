// glint::attention under a policy, and what wrong arguments are told.
#include <glint/ops/attention_scope.hpp>

#include "tests/support/attention.hpp"
#include "tests/support/files.hpp"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>

#include <thread>

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;
using test::difference;
using test::Inputs;
using test::inputs;

at::Tensor attention(const Inputs& x, int64_t layer, const std::optional<at::Tensor>& mask = std::nullopt,
                     bool causal = false) {
  using Signature =
      at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                 double, bool, std::optional<double>, bool, int64_t);
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("glint::attention", "").typed<Signature>();
  return op.call(x.q, x.k, x.v, mask, 0.0, causal, std::nullopt, false, layer);
}

AttentionPolicy policy_of(AttentionKind kind) {
  AttentionPolicy policy;
  policy.kind = kind;
  policy.first_dense_layers = 2;
  policy.min_tokens = 128;
  policy.isa.main_length = 128;
  return policy;
}

TEST_CASE("Without a scope, and under a dense policy, attention is scaled_dot_product_attention bit for bit",
          "[ops]") {
  const Inputs x = inputs(21, 256, 64).heads_inside();
  CHECK(at::equal(attention(x, 9), test::sdpa(x)));
  const AttentionScope scope(policy_of(AttentionKind::Dense));
  CHECK(at::equal(attention(x, 9), test::sdpa(x)));
  CHECK(scope.calls() == 1);
  CHECK(scope.sparse_calls() == 0);
}

TEST_CASE("The policy of the innermost scope is in force, on its thread only", "[ops]") {
  const Inputs x = inputs(22, 256, 64);
  const AttentionScope outer(policy_of(AttentionKind::Pisa));
  {
    const AttentionScope inner(policy_of(AttentionKind::Isa));
    CHECK(at::equal(attention(x, 2), isa(x.q, x.k, x.v, inner.policy().isa)));
    CHECK(inner.sparse_calls() == 1);
  }
  CHECK(at::equal(attention(x, 2), pisa(x.q, x.k, x.v, outer.policy().pisa)));
  CHECK(outer.calls() == 1);
  std::thread([&] { CHECK(AttentionScope::current() == nullptr); }).join();
}

TEST_CASE("Calls that no sparse kernel can take stay dense", "[ops]") {
  const Inputs x = inputs(23, 256, 64);
  const AttentionScope scope(policy_of(AttentionKind::Pisa));
  CHECK(at::equal(attention(x, 1), test::sdpa(x)));  // a first layer
  const Inputs few = inputs(24, 100, 64);
  CHECK(at::equal(attention(few, 5), test::sdpa(few)));
  const Inputs text = inputs(25, 256, 77, 64, 64);
  CHECK(at::equal(attention(text, 5), test::sdpa(text)));
  const at::Tensor mask = at::ones({256, 256}, at::kBool).tril();
  CHECK(at::equal(attention(x, 5, mask), at::scaled_dot_product_attention(x.q, x.k, x.v, mask)));
  CHECK(at::equal(attention(x, 5, std::nullopt, true),
                  at::scaled_dot_product_attention(x.q, x.k, x.v, std::nullopt, 0.0, true)));
  const Inputs wide = inputs(26, 256, 264);
  CHECK(at::equal(attention(wide, 5), test::sdpa(wide)));
  CHECK(scope.calls() == 6);
  CHECK(scope.sparse_calls() == 0);
}

TEST_CASE("Where a gradient is wanted attention is dense and has one", "[ops]") {
  const Inputs x = inputs(27, 256, 64);
  const Inputs leaf{x.q.clone().set_requires_grad(true), x.k, x.v};
  const AttentionScope scope(policy_of(AttentionKind::Pisa));
  attention(leaf, 5).sum().backward();
  CHECK(leaf.q.grad().defined());
  CHECK(scope.sparse_calls() == 0);
}

TEST_CASE("Wrong arguments are named", "[ops]") {
  const Inputs x = inputs(28, 128, 32);
  const auto says = [&](auto&& call, const char* part) { CHECK_THROWS_WITH(call(), Contains(part)); };
  const auto with = [&](auto&& change) {
    PisaOptions options;
    change(options);
    return [&x, options] { pisa(x.q, x.k, x.v, options); };
  };
  says(with([](PisaOptions& o) { o.density = 1.5; }), "density: expected a number in [0,1], got 1.5");
  says(with([](PisaOptions& o) { o.density = std::nan(""); }), "density:");
  says(with([](PisaOptions& o) { o.block_size = 0; }), "block_size: expected 1 to 256, got 0");
  says(with([](PisaOptions& o) { o.forced_blocks = {2}; }),
       "forced_blocks: expected numbers in [-2,1], got 2");
  says(with([](PisaOptions& o) { o.forced_blocks = {0, 1}; }), "forced_blocks: expected at most 1");
  says(with([](PisaOptions& o) { o.scale = INFINITY; }), "scale:");
  says([&] { pisa(x.q[0], x.k, x.v); }, "q: expected [B,H,N,D], got [2,128,32]");
  says([&] { pisa(x.q, x.k.narrow(3, 0, 16), x.v); }, "k: expected the head size of q, 32, got 16");
  says([&] { pisa(x.q, x.k, x.v.narrow(2, 0, 100)); }, "v: expected as many tokens as k, 128, got 100");
  says([&] { pisa(x.q, x.k, x.v.to(at::kHalf)); }, "v: expected the dtype of q");
  says([&] { pisa(x.q.to(at::kDouble), x.k, x.v); }, "q: expected float32, float16 or bfloat16, got Double");
  says(
      [&] {
        pisa(x.q, x.k, x.v, {}, at::full({1, 2, 2, 1}, 2, at::kInt));
      },
      "block_indices: expected block numbers in [0,1], got 2");
  says(
      [&] {
        pisa(x.q, x.k, x.v, {}, at::zeros({1, 2, 2, 2}, at::kInt));
      },
      "block_indices: expected different blocks");
  says(
      [&] {
        pisa(x.q, x.k, x.v, {}, at::zeros({1, 2, 3, 1}, at::kInt));
      },
      "block_indices: expected [1,2,2,1], got [1,2,3,1]");
  IsaOptions isa_options;
  says([&] { isa(x.q, x.k, x.v, isa_options); }, "main_length: expected 1 to 128, got 0");
  isa_options.main_length = 64;
  says(
      [&] {
        isa(x.q, x.k, x.v, isa_options, at::ones({1, 64}));
      },
      "gate: expected [1,128] or [1,2,128], got [1,64]");
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
