// glint::attention: scaled_dot_product_attention with a layer number, decided anew at every call.
#include <glint/attention/policy.hpp>
#include <glint/error.hpp>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <torch/library.h>

#include <chrono>

namespace glint {
namespace {

thread_local AttentionScope* in_force = nullptr;

}  // namespace

AttentionScope::AttentionScope(const AttentionPolicy& policy, std::vector<AttentionCall>* log)
    : policy_(policy), outer_(in_force), log_(log || !in_force ? log : in_force->log_) {
  in_force = this;
}

AttentionScope::~AttentionScope() { in_force = outer_; }

AttentionScope* AttentionScope::current() noexcept { return in_force; }

void AttentionScope::record(const AttentionCall& call) {
  ++calls_;
  sparse_calls_ += call.kind != AttentionKind::Dense;
  if (log_) log_->push_back(call);
}

namespace {

using OptionalTensor = std::optional<at::Tensor>;

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const OptionalTensor& mask, double dropout, bool causal, std::optional<double> scale,
                     bool enable_gqa, int64_t layer) {
  AttentionScope* scope = AttentionScope::current();
  if (!scope || q.dim() != 4)
    return at::scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale, enable_gqa);
  const AttentionPolicy& policy = scope->policy();
  AttentionCall call{layer, q.size(0), q.size(1), q.size(2), k.size(-2), q.size(3)};
  const bool plain = !mask && dropout == 0.0 && !causal && k.dim() == 4 && q.size(1) == k.size(1);
  if (plain && layer >= policy.first_dense_layers && std::min(call.queries, call.keys) >= policy.min_tokens)
    call.kind = policy.kind;
  GLINT_CHECK(call.kind == AttentionKind::Dense || q.is_meta(), Internal, "attention: no sparse kernels yet");
  const auto start = std::chrono::steady_clock::now();
  auto out = at::scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale, enable_gqa);
  call.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  scope->record(call);
  return out;
}

}  // namespace
}  // namespace glint

TORCH_LIBRARY_FRAGMENT(glint, m) {
  m.def(
      "attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0.0, "
      "bool is_causal=False, *, float? scale=None, bool enable_gqa=False, int layer=0) -> Tensor");
}

TORCH_LIBRARY_IMPL(glint, CompositeImplicitAutograd, m) { m.impl("attention", glint::attention); }
