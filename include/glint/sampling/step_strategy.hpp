// Interface of a step strategy: it improves the latents of a step before that step is taken.
#pragma once

#include <glint/core/options.hpp>
#include <glint/sampling/run.hpp>

#include <cmath>
#include <string>

namespace glint {

/// What a strategy may use. `predictor` is the run's own predictor: the one the accepted step predicts with.
struct StepContext {
  Run& run;
  const Predictor& predictor;
  int step;
};

/// A difference of predictions that is added to the accepted one.
struct Gap {
  Predictor strong, weak;
  double weight;
};

/// Improves a step: its latents before it is taken, or its prediction. Runs before the denoise of the step, in list order.
/// Never sees or touches a solver's history. Immutable; const calls are safe concurrently.
class StepStrategy {
 public:
  virtual ~StepStrategy() = default;

  /// Returns the name usage and reports are listed under.
  virtual std::string_view name() const = 0;

  /// Returns whether the strategy does anything at step i of n.
  virtual bool active(int i, int n) const = 0;

  /// Returns x_i' for x_i. Never writes into x.   Shapes: x [B,...]; returns the same shape.
  virtual at::Tensor refine(const at::Tensor& x, const StepContext& context) const = 0;

  /// Returns whether refine does anything at active steps; if not, it is not called.
  virtual bool refines() const { return true; }

  /// Returns what is added to the accepted prediction at an active step: sum of weight (P_strong - P_weak), evaluated
  /// with it in one batch. For strategies that change the prediction instead of the latents.
  virtual std::vector<Gap> gaps(const NoiseSchedule& /*schedule*/, int /*step*/, const Predictor& /*predictor*/) const {
    return {};
  }

  /// Called when a sampler is built. Throws InvalidArgument, with the reason, if the strategy cannot work there.
  virtual void validate(const NoiseSchedule& /*schedule*/, const Predictor& /*predictor*/) const {}
};

}  // namespace glint
