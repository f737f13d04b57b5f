// Which attention the operator glint::attention computes, decided when it is called.
#pragma once

#include <glint/attention/options.hpp>
#include <glint/export.hpp>

#include <cmath>

namespace glint {

enum class AttentionKind { Dense, Pisa, Isa };

/// What a network's attention layers do. Dense is torch's scaled_dot_product_attention, bit for bit.
///
/// A call stays dense whatever `kind` says if its layer is below `first_dense_layers`, if queries or keys are fewer
/// than `min_tokens`, if it has a mask, dropout, causality or grouped queries, if a gradient is wanted, or if its
/// shape, type or device has no sparse kernel. Isa also needs as many queries as keys and more than main_length.
struct AttentionPolicy {
  AttentionKind kind = AttentionKind::Dense;
  int64_t first_dense_layers = 4;  ///< layers; PISA's value for FLUX, whose first layers approximate badly
  int64_t min_tokens = 2048;       ///< tokens; below, the saving does not pay for the statistics
  double start = 0.0,
         stop = 1.0;    ///< the steps of a run it is in force at, as fractions of them; else it is dense
  bool reorder = true;  ///< bring image tokens into patches, if the network takes a `token_order`
  PisaOptions pisa = {};
  IsaOptions isa = {};

  bool sparse() const { return kind != AttentionKind::Dense; }

  /// Returns whether step i of n is in the window: floor(start n) <= i < floor(stop n).
  bool active(int i, int n) const {
    const auto step_at = [n](double fraction) { return static_cast<int>(std::floor(fraction * n + 1e-9)); };
    return step_at(start) <= i && i < step_at(stop);
  }

  friend bool operator==(const AttentionPolicy&, const AttentionPolicy&) = default;
};

/// One attention of a network, as its operator meets it. Shapes: query [batch, heads, queries, head_size].
struct AttentionCall {
  int64_t layer = 0;
  int64_t batch = 0, heads = 0, queries = 0, keys = 0, head_size = 0;
  bool plain = true;                          ///< neither mask nor dropout, causality or grouped queries
  AttentionKind kind = AttentionKind::Dense;  ///< what was computed
  double seconds = 0.0;                       ///< how long it took
};

/// Returns what a policy does at a plain call of these shapes, where there is a kernel for it.
inline AttentionKind kind_at(const AttentionPolicy& policy, const AttentionCall& call) {
  const bool large = call.queries >= policy.min_tokens && call.keys >= policy.min_tokens;
  if (!large || call.layer < policy.first_dense_layers) return AttentionKind::Dense;
  if (policy.kind == AttentionKind::Isa &&
      (call.queries != call.keys || main_tokens(policy.isa, call.queries) >= call.queries))
    return AttentionKind::Dense;
  return call.plain ? policy.kind : AttentionKind::Dense;
}

/// The policy in force on this thread, while it lives. Scopes nest; without any, attention is dense. Layers that a network
/// runs on other threads (TorchScript's fork) do not see it and stay dense.
///
/// A scope per model call lets threads share a network under different policies, and lets a policy change between
/// calls, without touching the network.
/// Cost: two pointer writes.   Thread: belongs to the thread that made it; must end there, in reverse order.
class GLINT_API AttentionScope {
 public:
  /// `log` is borrowed and told of every call of glint::attention; without one, the outer scope's is.
  explicit AttentionScope(const AttentionPolicy& policy, std::vector<AttentionCall>* log = nullptr);
  ~AttentionScope();
  AttentionScope(const AttentionScope&) = delete;
  AttentionScope& operator=(const AttentionScope&) = delete;

  const AttentionPolicy& policy() const { return policy_; }
  bool logs() const { return log_ != nullptr; }
  int64_t calls() const { return calls_; }                ///< of glint::attention in this scope
  int64_t sparse_calls() const { return sparse_calls_; }  ///< those that were not dense

  /// Returns the innermost scope of this thread, or null.
  static AttentionScope* current() noexcept;
  /// Counts and logs a call; the operator does it.
  void record(const AttentionCall& call);

 private:
  AttentionPolicy policy_;
  AttentionScope* outer_;
  std::vector<AttentionCall>* log_;
  int64_t calls_ = 0;
  int64_t sparse_calls_ = 0;
};

}  // namespace glint
