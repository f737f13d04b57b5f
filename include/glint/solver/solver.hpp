// Interface of a solver, which turns a step's prediction into the next latents.
#pragma once

#include <glint/core/options.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/core/rng.hpp>
#include <glint/core/schedule.hpp>
#include <glint/core/schedule_options.hpp>
#include <glint/model/branches.hpp>
#include <glint/model/model.hpp>

namespace glint {

/// The inputs of one update.
struct SolverStep {
  const at::Tensor& x;       ///< latents at `index`
  const at::Tensor& output;  ///< guided raw output for x
  Parameterization parameterization;
  const NoiseSchedule& schedule;
  int index;  ///< grid position of the step, which lands on schedule.landing(index)
  const BranchOutputs& branches = kNone;  ///< raw outputs for x of the branches named by Solver::reads()

  const Level& from() const { return schedule.level(index); }
  const Level& to() const { return schedule.landing(index); }
  static inline const BranchOutputs kNone = {};
  /// Returns the step's x0 estimate.   Cost: two passes, one allocation.
  at::Tensor denoised() const { return denoised_from(parameterization, from())(x, output); }
};

/// What a multistep solver remembers between the steps of a run. Owned by the sampling loop; starts empty.
struct SolverHistory {
  at::Tensor denoised;         ///< the previous step's x0 estimate
  at::Tensor older_denoised;   ///< the x0 estimate before that
  at::Tensor oldest_denoised;  ///< the x0 estimate before that
  at::Tensor x;                ///< latents the previous step started from; undefined if changed since
  int order = 0;               ///< order of the previous step; 0 at the start
};

/// An update rule. Immutable; state is passed in.
/// Thread:  const calls are safe concurrently.   Random: stochastic solvers draw from `noise` once per step.
class Solver {
 public:
  virtual ~Solver() = default;

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
