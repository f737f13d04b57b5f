// Normalized attention guidance: what it does to a layer's output.
#pragma once

#include <glint/ops/attention_scope.hpp>

#include <ATen/core/Tensor.h>

#include <optional>

namespace glint::ops {

/// An attention call without mask, as far as guidance needs it.
struct GuidedCall {
  const at::Tensor& query;
  const at::Tensor& key;
  std::optional<double> scale;
  int64_t layer;
};

/// Returns the output of a layer, its guided rows changed if the layer reads the prompt. Writes to `out`
/// unless gradients flow through it.
/// Shapes:  out [R,H,N,E].
/// Errors:  BadModel if such a layer's batch is not the network's.
at::Tensor guided(at::Tensor out, const GuidedCall& call, AttentionScope& scope);

}  // namespace glint::ops
