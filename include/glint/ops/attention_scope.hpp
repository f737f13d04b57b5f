// The attention policy in force on a thread, which the operator glint::attention looks up when called.
#pragma once

#include <glint/attention/normalized_guidance.hpp>
#include <glint/attention/policy.hpp>
#include <glint/core/tensor.hpp>
#include <glint/export.hpp>
#include <glint/model/text_tokens.hpp>

#include <vector>

namespace glint {

/// The keys and values of one attention layer, [R,H,L,E].
struct LayerKeys {
  int64_t layer = 0;
  at::Tensor keys = {}, values = {};
};

/// Which rows of a call's batch are guided away from which, and where the layers have the prompt's tokens.
struct GuidedRows {
  NormalizedGuidance options = {};
  TextTokens text = TextTokens::Unknown;
  int64_t text_length = 0;   ///< tokens
  int64_t image_length = 0;  ///< tokens; only for text among the image tokens
  int64_t rows = 0;          ///< in the batch
  int64_t samples = 0;       ///< rows of a pair
  struct Pair {
    int64_t prompt;    ///< first row in the batch
    int64_t negative;  ///< first row in the batch, or in `apart`
  };
  std::vector<Pair> pairs = {};
  /// The negative prompts' keys and values in the layers that read the text, if the batch does not have them;
  /// sorted by layer.
  std::vector<LayerKeys> apart = {};
};

/// Puts a policy in force on the current thread for its lifetime. Scopes nest; without one, attention is
/// dense. Layers that a network runs on other threads (TorchScript's fork) do not see it and stay dense.
///
/// One scope per model call lets threads share a network under different policies, and policies change
/// between calls, without touching the network.
/// Cost: two pointer writes.   Thread: must be destroyed on the thread that created it, in reverse order.
class GLINT_API AttentionScope {
 public:
  /// `log` is borrowed and records every call of glint::attention; null = use the outer scope's.
  /// `guided` is borrowed: rows that normalized attention guidance changes; null = none.
  explicit AttentionScope(const AttentionPolicy& policy, std::vector<AttentionCall>* log = nullptr,
                          const GuidedRows* guided = nullptr);
  ~AttentionScope();
  AttentionScope(const AttentionScope&) = delete;
  AttentionScope& operator=(const AttentionScope&) = delete;

  const AttentionPolicy& policy() const { return policy_; }
  bool logs() const { return log_ != nullptr; }
  const GuidedRows* guided() const { return guided_; }
  int64_t guided_calls() const { return guided_calls_; }  ///< calls that changed the guided rows
  int64_t calls() const { return calls_; }                ///< calls of glint::attention in this scope
  int64_t sparse_calls() const { return sparse_calls_; }  ///< of those, the ones not dense

  /// Returns this thread's innermost scope, or null.
  static AttentionScope* current() noexcept;
  /// Counts and logs a call; for the operator only.
  void record(const AttentionCall& call);
  void count_guided() { ++guided_calls_; }

 private:
  AttentionPolicy policy_;
  AttentionScope* outer_;
  std::vector<AttentionCall>* log_;
  int64_t calls_ = 0;
  int64_t sparse_calls_ = 0;
  const GuidedRows* guided_;
  int64_t guided_calls_ = 0;
};

}  // namespace glint
