// The attention policy: which attention each layer of a network computes, per request and step.
#pragma once

#include <glint/attention/options.hpp>
#include <glint/core/step_window.hpp>

namespace glint {

enum class AttentionKind { Dense, Pisa, Isa };

/// Which attention a network's layers compute. Dense is torch's scaled_dot_product_attention, bit for bit.
///
/// A call stays dense whatever `kind` says if its layer is below `first_dense_layers`; if it has fewer than
/// `min_tokens` queries or keys; if it has a mask, dropout, a causal flag or grouped queries; if it needs a
/// gradient; or if its shape, dtype or device has no sparse kernel. Isa also requires as many queries as
/// keys, and more than main_length.
struct AttentionPolicy {
  AttentionKind kind = AttentionKind::Dense;
  int64_t first_dense_layers = 4;  ///< layers; PISA's value for FLUX, whose first layers approximate badly
  int64_t min_tokens = 2048;       ///< tokens; below this the savings do not cover the statistics
  StepWindow window = {};          ///< steps of the run with sparse attention; dense elsewhere
  bool reorder = true;             ///< group image tokens into patches, if the network takes a `token_order`
  PisaOptions pisa = {};
  IsaOptions isa = {};

  bool sparse() const { return kind != AttentionKind::Dense; }

  friend bool operator==(const AttentionPolicy&, const AttentionPolicy&) = default;
};

/// One attention call, as the operator sees it.
/// Shapes:  query [batch, heads, queries, head_size].
struct AttentionCall {
  int64_t layer = 0;
  int64_t batch = 0, heads = 0, queries = 0, keys = 0, head_size = 0;
  bool plain = true;                          ///< no mask, dropout, causal flag or grouped queries
  AttentionKind kind = AttentionKind::Dense;  ///< the attention computed
  double seconds = 0.0;                       ///< wall time
};

/// Returns the attention a policy picks for a call, assuming a kernel exists for it.
inline AttentionKind kind_at(const AttentionPolicy& policy, const AttentionCall& call) {
  const bool large = call.queries >= policy.min_tokens && call.keys >= policy.min_tokens;
  if (!large || call.layer < policy.first_dense_layers) return AttentionKind::Dense;
  if (policy.kind == AttentionKind::Isa &&
      (call.queries != call.keys || main_tokens(policy.isa, call.queries) >= call.queries))
    return AttentionKind::Dense;
  return call.plain ? policy.kind : AttentionKind::Dense;
}

}  // namespace glint
