// Interface of a guidance rule: which branches a step needs, and how their outputs become one prediction.
#pragma once

#include <glint/core/level.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/model/branches.hpp>
#include <glint/model/conditioning.hpp>
#include <glint/model/model.hpp>

#include <functional>
#include <memory>

namespace glint {

/// Where in a run a prediction is made.
struct StepPosition {
  int step = 0;   ///< 0 is the noisiest
  int steps = 1;  ///< steps of the run
};

/// What a rule's weak branch evaluates: another model, another prompt, or both. A weak branch of the
/// predictor's own model is part of the same batch; one of another model is a call of its own.
struct WeakBranch {
  std::shared_ptr<const Model> model = {};                         ///< empty = the predictor's own
  std::function<Conditioning(const Prompt&)> condition = nullptr;  ///< empty = the prompt
};

/// Everything `combine` may look at besides the outputs.
struct GuidanceStep {
  StepPosition position;
  const at::Tensor& x;
  const Level& level;  ///< the level the network was told
  Parameterization parameterization;
  const Prompt& prompt;  ///< what the branches were conditioned on
};

/// What a rule remembers along one trajectory (a momentum buffer, say). Most rules have nothing.
struct GuidanceState {
  virtual ~GuidanceState() = default;
};

/// A way to combine conditional and unconditional predictions. Immutable: state lives in GuidanceState, per
/// trajectory.
/// Thread:  const calls are safe concurrently.
class GuidanceRule {
 public:
  virtual ~GuidanceRule() = default;

  /// Returns what to evaluate at this step; a branch that cannot matter is not asked for.
  virtual BranchSet branches(const StepPosition& position) const = 0;

  /// Returns what the weak branch is, for rules that ask for one; it lives as long as the rule.
  virtual const WeakBranch* weak_branch() const { return nullptr; }

  /// Returns the guided output, in the space of the raw outputs. Never writes into its inputs.
  virtual at::Tensor combine(const BranchOutputs& outputs, const GuidanceStep& step,
                             GuidanceState* state) const = 0;

  /// Returns fresh state for one trajectory, or null if the rule has none.
  virtual std::unique_ptr<GuidanceState> begin() const { return nullptr; }

  /// Called when a sampler is built. Throws InvalidArgument, with the reason, if the rule cannot work with
  /// the model.
  virtual void validate(const ModelInfo& /*model*/) const {}
};

}  // namespace glint
