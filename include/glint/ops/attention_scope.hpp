// The attention policy in force on a thread, which the operator glint::attention looks up when called.
#pragma once

#include <glint/attention/policy.hpp>
#include <glint/export.hpp>

#include <vector>

namespace glint {

/// Puts a policy in force on the current thread for its lifetime. Scopes nest; without one, attention is
/// dense. Layers that a network runs on other threads (TorchScript's fork) do not see it and stay dense.
///
/// One scope per model call lets threads share a network under different policies, and policies change
/// between calls, without touching the network.
/// Cost: two pointer writes.   Thread: must be destroyed on the thread that created it, in reverse order.
class GLINT_API AttentionScope {
 public:
  /// `log` is borrowed and records every call of glint::attention; null = use the outer scope's.
  explicit AttentionScope(const AttentionPolicy& policy, std::vector<AttentionCall>* log = nullptr);
  ~AttentionScope();
  AttentionScope(const AttentionScope&) = delete;
  AttentionScope& operator=(const AttentionScope&) = delete;

  const AttentionPolicy& policy() const { return policy_; }
  bool logs() const { return log_ != nullptr; }
  int64_t calls() const { return calls_; }                ///< calls of glint::attention in this scope
  int64_t sparse_calls() const { return sparse_calls_; }  ///< of those, the ones not dense

  /// Returns this thread's innermost scope, or null.
  static AttentionScope* current() noexcept;
  /// Counts and logs a call; for the operator only.
  void record(const AttentionCall& call);

 private:
  AttentionPolicy policy_;
  AttentionScope* outer_;
  std::vector<AttentionCall>* log_;
  int64_t calls_ = 0;
  int64_t sparse_calls_ = 0;
};

}  // namespace glint
