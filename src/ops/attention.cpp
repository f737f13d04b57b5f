#include "ops/attention.hpp"

#include <glint/attention/policy.hpp>
#include <glint/attention/sparse_attention.hpp>
#include <glint/error.hpp>

#include "ops/grid.hpp"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/scaled_dot_product_attention.h>

namespace glint::ops {
namespace {

bool has_kernel(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto type = q.scalar_type();
  const bool typed = type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
  if (!typed || k.scalar_type() != type || v.scalar_type() != type) return false;
  for (const at::Tensor* x : {&q, &k, &v})
    if (x->dim() != 4 || !x->device().is_cpu() || x->size(0) != q.size(0) || x->size(1) != q.size(1) ||
        x->size(3) < 1 || x->size(3) > kMaxHeadSize)
      return false;
  return k.size(3) == q.size(3) && v.size(2) == k.size(2) && q.size(2) >= 1 && k.size(2) >= 1;
}

/// True if the policy wants a call of these shapes sparse and a kernel can do it.
bool sparse(const AttentionPolicy& policy, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
            int64_t layer) {
  if (policy.kind == AttentionKind::Dense || layer < policy.first_dense_layers || !has_kernel(q, k, v))
    return false;
  if (q.size(2) < policy.min_tokens || k.size(2) < policy.min_tokens) return false;
  return policy.kind == AttentionKind::Pisa || (q.size(2) == k.size(2) && policy.isa.main_length < q.size(2));
}

at::Tensor in_token_order(const at::Tensor& out) {
  return out.dim() == 4 ? out.transpose(1, 2).contiguous().transpose(1, 2) : out;
}

}  // namespace

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const std::optional<at::Tensor>& attn_mask, double dropout_p, bool is_causal,
                     std::optional<double> scale, bool enable_gqa, int64_t layer) {
  AttentionScope* scope = AttentionScope::current();
  const bool plain = !(attn_mask && attn_mask->defined()) && dropout_p == 0.0 && !is_causal && !enable_gqa;
  const bool use_sparse = scope && plain && sparse(scope->policy(), query, key, value, layer);
  if (scope) scope->count(use_sparse);
  if (!use_sparse)
    return in_token_order(at::scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal,
                                                           scale, enable_gqa));
  if (scope->policy().kind == AttentionKind::Pisa) {
    PisaOptions options = scope->policy().pisa;
    if (scale) options.scale = scale;
    return pisa(query, key, value, options);
  }
  IsaOptions options = scope->policy().isa;
  if (scale) options.scale = scale;
  return isa(query, key, value, options);
}

at::Tensor attention_with_gradient(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                   const std::optional<at::Tensor>& attn_mask, double dropout_p,
                                   bool is_causal, std::optional<double> scale, bool enable_gqa,
                                   int64_t layer) {
  const bool wanted =
      c10::GradMode::is_enabled() && (query.requires_grad() || key.requires_grad() || value.requires_grad());
  if (wanted) {
    if (AttentionScope* scope = AttentionScope::current()) scope->count(false);
    return at::scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale,
                                            enable_gqa);
  }
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("glint::attention", "").typed<decltype(attention)>();
  const at::AutoDispatchBelowADInplaceOrView below;
  return op.call(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, layer);
}

}  // namespace glint::ops
