// Interface of a solver, which turns a step's prediction into the next latents.
#pragma once

#include <glint/core/options.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/core/rng.hpp>
#include <glint/core/schedule.hpp>
#include <glint/core/schedule_options.hpp>
#include <glint/model/branches.hpp>
#include <glint/model/model.hpp>

#include <functional>

namespace glint {

/// Predicts again inside a step: returns the guided raw output for latents x [B,...] at `level`.
/// Cost:    one guided prediction.
using Evaluate = std::function<at::Tensor(const at::Tensor& x, const Level& level)>;

/// Where a step makes its first prediction.
struct Departure {
  at::Tensor x;
  Level level;
};

/// The inputs of one update.
struct SolverStep {
  const at::Tensor& x;       ///< latents at from()
  const at::Tensor& output;  ///< guided raw output for x
  Parameterization parameterization;
  const NoiseSchedule& schedule;
  int index;  ///< grid position of the step, which lands on schedule.landing(index)
  const BranchOutputs& branches = kNone;  ///< raw outputs for x of the branches named by Solver::reads()
  const Evaluate& evaluate = kNever;      ///< makes further predictions inside the step
  const Level* departure = nullptr;       ///< level of x if Solver::depart() moved it off the grid

  const Level& from() const { return departure ? *departure : schedule.level(index); }
  const Level& to() const { return schedule.landing(index); }
  static inline const BranchOutputs kNone = {};
  static inline const Evaluate kNever = nullptr;
  /// Returns the step's x0 estimate.   Cost: two passes, one allocation.
  at::Tensor denoised() const { return denoised_from(parameterization, from())(x, output); }
};

/// What a multistep solver remembers between the steps of a run. Owned by the sampling loop; starts empty.
struct SolverHistory {
  at::Tensor denoised;         ///< the previous step's x0 estimate
  at::Tensor older_denoised;   ///< the x0 estimate before that
  at::Tensor oldest_denoised;  ///< and the one before that
  at::Tensor slope;            ///< a derivative at the previous step, in the solver's own variable
  at::Tensor older_slope;      ///< the one before that
  at::Tensor x;                ///< latents the previous step started from; undefined if changed since
  int order = 0;               ///< order of the previous step; 0 at the start
};

/// An update rule. Immutable; state is passed in.
/// Thread:  const calls are safe concurrently.   Random: how often a step draws from `noise` depends on the
///          schedule alone.
class Solver {
 public:
  virtual ~Solver() = default;

  /// Returns where step `index` makes its first prediction, given its latents x: by default at x itself.
  /// Never writes to x.
  virtual Departure depart(const at::Tensor& x, const NoiseSchedule& schedule, int index,
                           NoiseStream& /*noise*/) const {
    return {x, schedule.level(index)};
  }

  /// Returns the latents at step.to(). Never writes to step.x or step.output.
  virtual at::Tensor step(const SolverStep& step, SolverHistory& history, NoiseStream& noise) const = 0;

  /// Returns the levels this solver visits for a model trained this way, as placed by the diffusers scheduler
  /// of the same name.
  /// Errors:  InvalidArgument if steps is outside [1, train_steps] or an option does not apply to the solver.
  virtual NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const = 0;
  virtual NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const = 0;

  /// Returns the branches whose raw outputs a step needs besides the guided output.
  virtual BranchSet reads() const { return {.cond = false}; }

  /// Throws InvalidArgument, with the reason, if the solver cannot run the model on this schedule.
  virtual void validate(const NoiseSchedule& /*schedule*/, const ModelInfo& /*model*/) const {}
};

}  // namespace glint
