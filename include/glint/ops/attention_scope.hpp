// The policy that the operator glint::attention looks up when it is called.
#pragma once

#include <glint/attention/policy.hpp>
#include <glint/export.hpp>

#include <vector>

namespace glint {

/// The policy in force on this thread, while it lives. Scopes nest; without any, attention is dense. Layers
/// that a network runs on other threads (TorchScript's fork) do not see it and stay dense.
///
/// A scope per model call lets threads share a network under different policies, and lets a policy change
/// between calls, without touching the network.
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
