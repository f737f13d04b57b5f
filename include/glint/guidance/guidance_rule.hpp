// Interface of a guidance rule: which branches a step needs and how they combine into one prediction.
#pragma once

#include <glint/core/level.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/model/branches.hpp>
#include <glint/model/conditioning.hpp>
#include <glint/model/model.hpp>

#include <functional>
#include <memory>

namespace glint {

/// Where in a run a prediction takes place.
struct StepPosition {
  int step = 0;   ///< 0 is the noisiest
  int steps = 1;  ///< number of steps in the run
};

/// What a rule's weak branch evaluates: another model, another conditioning, or both. On the predictor's own
/// model it joins the batch of the other branches; another model takes a separate call.
struct WeakBranch {
  std::shared_ptr<const Model> model = {};                         ///< empty = the predictor's own
  std::function<Conditioning(const Prompt&)> condition = nullptr;  ///< empty = the prompt
};

/// What `combine` may use besides the outputs.
struct GuidanceStep {
  StepPosition position;
  const at::Tensor& x;
  const Level& level;  ///< the level the network was conditioned on
  Parameterization parameterization;
  const Prompt& prompt;  ///< what the branches were conditioned on
};

/// A rule's state along one trajectory, e.g. a momentum buffer. Most rules have none.
struct GuidanceState {
  virtual ~GuidanceState() = default;
};

/// Combines conditional, unconditional and weak predictions into one. Immutable; per-trajectory state lives
/// in GuidanceState.
/// Thread:  const calls are safe concurrently.
class GuidanceRule {
 public:
  virtual ~GuidanceRule() = default;

  /// Returns the branches this step needs, and none that cannot matter.
  virtual BranchSet branches(const StepPosition& position) const = 0;

  /// Returns the weak branch of rules that request one; valid for the rule's lifetime.
  virtual const WeakBranch* weak_branch() const { return nullptr; }

  /// Returns the guided prediction, in raw-output space. Never writes to its inputs.
  virtual at::Tensor combine(const BranchOutputs& outputs, const GuidanceStep& step,
                             GuidanceState* state) const = 0;

  /// Returns fresh state for one trajectory, or null for stateless rules.
  virtual std::unique_ptr<GuidanceState> begin() const { return nullptr; }

  /// Called when a sampler is built. Throws InvalidArgument, with the reason, if the rule does not suit the
  /// model.
  virtual void validate(const ModelInfo& /*model*/) const {}
};

}  // namespace glint
