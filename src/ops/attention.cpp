#include "ops/attention.hpp"

#include <glint/core/error.hpp>
#include <glint/ops/attention_scope.hpp>
#include <glint/ops/sparse_attention.hpp>

#include "ops/arguments.hpp"
#include "ops/guided.hpp"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <chrono>

namespace glint::ops {
namespace {

bool has_kernel(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto type = q.scalar_type();
  const bool typed = type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
  if (!typed || k.scalar_type() != type || v.scalar_type() != type) return false;
  for (const at::Tensor* x : {&q, &k, &v})
    if (x->dim() != 4 || !has_kernels(x->device()) || x->device() != q.device() || x->size(0) != q.size(0) ||
        x->size(1) != q.size(1) || x->size(3) < 1 || x->size(3) > kMaxHeadSize)
      return false;
  return k.size(3) == q.size(3) && v.size(2) == k.size(2) && q.size(2) >= 1 && k.size(2) >= 1;
}

/// Returns the call as the policy sees it.
AttentionCall described(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t layer,
                        bool plain) {
  AttentionCall call{.layer = layer, .plain = plain};
  if (q.dim() == 4) call.batch = q.size(0);
  if (q.dim() >= 3) {
    call.heads = q.size(-3);
    call.queries = q.size(-2);
    call.keys = k.size(-2);
    call.head_size = q.size(-1);
  }
  const AttentionScope* scope = AttentionScope::current();
  if (scope && scope->policy().sparse() && has_kernel(q, k, v)) call.kind = kind_at(scope->policy(), call);
  return call;
}

at::Tensor in_token_order(const at::Tensor& out) {
  return out.dim() == 4 ? out.transpose(1, 2).contiguous().transpose(1, 2) : out;
}

/// Logs a call to the scope when it ends.
class Recorded {
 public:
  Recorded(AttentionScope& scope, const AttentionCall& call) : scope_(scope), call_(call) {
    if (scope.logs()) start_ = Clock::now();
  }
  ~Recorded() {
    if (scope_.logs()) call_.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    scope_.record(call_);
  }
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  AttentionScope& scope_;
  AttentionCall call_;
  Clock::time_point start_;
};

/// Returns the attention that the scope's policy picks.
at::Tensor by_policy(AttentionScope* scope, const at::Tensor& query, const at::Tensor& key,
                     const at::Tensor& value, const std::optional<at::Tensor>& attn_mask, double dropout_p,
                     bool is_causal, std::optional<double> factor, bool enable_gqa, int64_t layer) {
  const auto dense = [&] {
    return in_token_order(at::scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal,
                                                           factor, enable_gqa));
  };
  if (!scope) return dense();
  const bool plain = !(attn_mask && attn_mask->defined()) && dropout_p == 0.0 && !is_causal && !enable_gqa;
  const AttentionCall call = described(query, key, value, layer, plain);
  const Recorded recorded(*scope, call);
  if (call.kind == AttentionKind::Dense) return dense();
  if (call.kind == AttentionKind::Pisa) {
    PisaOptions options = scope->policy().pisa;
    if (factor) options.scale = factor;
    return pisa(query, key, value, options);
  }
  IsaOptions options = scope->policy().isa;
  options.main_length = main_tokens(options, query.size(2));
  if (factor) options.scale = factor;
  return isa(query, key, value, options);
}

}  // namespace

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const std::optional<at::Tensor>& attn_mask, double dropout_p, bool is_causal,
                     std::optional<double> scale, bool enable_gqa, int64_t layer) {
  AttentionScope* current = AttentionScope::current();
  at::Tensor out =
      by_policy(current, query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, layer);
  if (!current || !current->guided()) return out;
  return guided(std::move(out), {query, key, scale, layer}, *current);
}

at::Tensor attention_with_gradient(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                   const std::optional<at::Tensor>& attn_mask, double dropout_p,
                                   bool is_causal, std::optional<double> scale, bool enable_gqa,
                                   int64_t layer) {
  const bool wanted =
      c10::GradMode::is_enabled() && (query.requires_grad() || key.requires_grad() || value.requires_grad());
  if (wanted) {
    std::optional<Recorded> recorded;
    AttentionScope* current = AttentionScope::current();
    if (current) recorded.emplace(*current, described(query, key, value, layer, false));
    at::Tensor out = at::scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal,
                                                      scale, enable_gqa);
    if (!current || !current->guided()) return out;
    return guided(std::move(out), {query, key, scale, layer}, *current);
  }
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("glint::attention", "").typed<decltype(attention)>();
  const at::AutoDispatchBelowADInplaceOrView below;
  return op.call(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, layer);
}

}  // namespace glint::ops
