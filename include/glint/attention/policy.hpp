// Which attention the operator glint::attention computes, decided when it is called.
#pragma once

#include <glint/attention/options.hpp>
#include <glint/export.hpp>

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
  PisaOptions pisa = {};
  IsaOptions isa = {};
};

/// The policy in force on this thread, while it lives. Scopes nest; without any, attention is dense.
///
/// A scope per model call lets threads share a network under different policies, and lets a policy change between
/// calls, without touching the network.
/// Cost: two pointer writes.   Thread: belongs to the thread that made it; must end there, in reverse order.
class GLINT_API AttentionScope {
 public:
  explicit AttentionScope(const AttentionPolicy& policy);
  ~AttentionScope();
  AttentionScope(const AttentionScope&) = delete;
  AttentionScope& operator=(const AttentionScope&) = delete;

  const AttentionPolicy& policy() const { return policy_; }
  int64_t calls() const { return calls_; }                ///< of glint::attention in this scope
  int64_t sparse_calls() const { return sparse_calls_; }  ///< those that were not dense

  /// Returns the innermost scope of this thread, or null.
  static AttentionScope* current() noexcept;
  /// Counts a call; the operator does it.
  void count(bool sparse) noexcept {
    ++calls_;
    sparse_calls_ += sparse;
  }

 private:
  AttentionPolicy policy_;
  AttentionScope* outer_;
  int64_t calls_ = 0;
  int64_t sparse_calls_ = 0;
};

}  // namespace glint
