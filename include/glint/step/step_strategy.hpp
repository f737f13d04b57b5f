// Interface of a step strategy: it improves the latents of a step before that step is taken.
#pragma once

#include <glint/options.hpp>
#include <glint/run.hpp>

#include <cmath>
#include <string>

namespace glint {

/// The steps a strategy works on, as fractions of the run. The last step is never among them: the terminal level
/// cannot be left again for every parameterization, and there is nothing after it to gain.
struct ActiveWindow {
  double start = 0.0;
  double stop = 1.0;

  /// Returns whether step i of n is inside: floor(start n) <= i < floor(stop n), and not the last.
  bool contains(int i, int n) const { return covers(i, n) && i < n - 1; }

  /// Returns the same, the last step included.
  bool covers(int i, int n) const { return step_at(start, n) <= i && i < step_at(stop, n); }

 private:
  // 0.29 * 100 is 28.999...96 in binary; a fraction that means a whole step is that step.
  static int step_at(double fraction, int n) { return static_cast<int>(std::floor(fraction * n + 1e-9)); }
};

/// What a strategy may use. `leg` is the run's own leg: the one the accepted step predicts with.
struct StepContext {
  Run& run;
  const Leg& leg;
  int step;
};

/// A difference of predictions that is added to the accepted one.
struct Gap {
  Leg strong, weak;
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
  virtual std::vector<Gap> gaps(const NoiseSchedule& /*schedule*/, int /*step*/, const Leg& /*leg*/) const {
    return {};
  }

  /// Called when a sampler is built. Throws InvalidArgument, with the reason, if the strategy cannot work there.
  virtual void validate(const NoiseSchedule& /*schedule*/, const Leg& /*leg*/) const {}
};

}  // namespace glint
