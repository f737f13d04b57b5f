// The operator that exported networks call in place of scaled_dot_product_attention.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace glint::ops {

/// Attention as the thread's AttentionScope says; scaled_dot_product_attention where that says nothing or
/// does not apply. The result lies in memory as [B,N,H,E], whichever computes it, so that a compiled network
/// can rely on its strides.
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const std::optional<at::Tensor>& attn_mask, double dropout_p, bool is_causal,
                     std::optional<double> scale, bool enable_gqa, int64_t layer);

/// The same where gradients may be wanted: then dense, as the sparse kernels have none.
at::Tensor attention_with_gradient(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                   const std::optional<at::Tensor>& attn_mask, double dropout_p,
                                   bool is_causal, std::optional<double> scale, bool enable_gqa,
                                   int64_t layer);

}  // namespace glint::ops
