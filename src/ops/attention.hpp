// The operator that rewritten networks call instead of scaled_dot_product_attention.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace glint::ops {

/// Returns attention under the thread's AttentionScope, or scaled_dot_product_attention if there is none or
/// it does not apply. The result's memory order is always [B,N,H,E], so that compiled networks can rely on
/// its strides.
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const std::optional<at::Tensor>& attn_mask, double dropout_p, bool is_causal,
                     std::optional<double> scale, bool enable_gqa, int64_t layer);

/// Same, when gradients may be required: dense then, since the sparse kernels have none.
at::Tensor attention_with_gradient(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                   const std::optional<at::Tensor>& attn_mask, double dropout_p,
                                   bool is_causal, std::optional<double> scale, bool enable_gqa,
                                   int64_t layer);

}  // namespace glint::ops
