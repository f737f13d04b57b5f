// Interface of a guidance filter, which changes when a rule applies, how strongly, or its prediction.
#pragma once

#include <glint/guidance/guidance_rule.hpp>

#include <functional>

namespace glint {

/// Modifies what a rule predicts. Filters wrap the rule in list order, the first innermost. Immutable.
/// Thread:  const calls are safe concurrently.
class GuidanceFilter {
 public:
  /// Returns the prediction of the rule and the filters inside this one, computed when called.
  using Guided = std::function<at::Tensor()>;

  virtual ~GuidanceFilter() = default;

  /// Returns what to evaluate, given what the inner filters and the rule need. Adds the conditional branch by
  /// default.
  virtual BranchSet branches(BranchSet inner, const StepPosition& /*position*/) const {
    inner.cond = true;
    return inner;
  }

  /// Returns the filtered prediction, in raw-output space. Never writes to its inputs.
  virtual at::Tensor apply(const Guided& guided, const BranchOutputs& outputs,
                           const GuidanceStep& step) const = 0;
};

}  // namespace glint
