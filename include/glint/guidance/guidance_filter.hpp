// Interface of a guidance filter: it changes when a rule applies, how strongly, or what its prediction looks
// like.
#pragma once

#include <glint/guidance/guidance_rule.hpp>

#include <functional>

namespace glint {

/// A change of what a rule predicts. Filters form a list around the rule; the first is the innermost.
/// Immutable.
/// Thread:  const calls are safe concurrently.
class GuidanceFilter {
 public:
  /// Returns the prediction of the rule and of the filters inside this one. Computed when called.
  using Guided = std::function<at::Tensor()>;

  virtual ~GuidanceFilter() = default;

  /// Returns what to evaluate, given what is wanted inside: that and the prompt, unless a filter says
  /// otherwise.
  virtual BranchSet branches(BranchSet inner, const StepPosition& /*position*/) const {
    inner.cond = true;
    return inner;
  }

  /// Returns the filtered output, in the space of the raw outputs. Never writes into its inputs.
  virtual at::Tensor apply(const Guided& guided, const BranchOutputs& outputs,
                           const GuidanceStep& step) const = 0;
};

}  // namespace glint
