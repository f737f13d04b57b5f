// Interface of a solver: one update of the latents, given the step's prediction.
#pragma once

#include <glint/core/options.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/core/rng.hpp>
#include <glint/core/schedule.hpp>
#include <glint/core/schedule_options.hpp>
#include <glint/model/branches.hpp>
#include <glint/model/model.hpp>

namespace glint {

/// What one update is computed from.
struct SolverStep {
  const at::Tensor& x;       ///< latents at `index`
  const at::Tensor& output;  ///< guided raw output for x
  Parameterization parameterization;
  const NoiseSchedule& schedule;
  int index;                              ///< the step's grid position; it lands on schedule.landing(index)
  const BranchOutputs& branches = kNone;  ///< raw outputs for x of the branches that Solver::reads names

  const Level& from() const { return schedule.level(index); }
  const Level& to() const { return schedule.landing(index); }
  static inline const BranchOutputs kNone = {};
  /// Returns the x0 estimate of this step. Two passes, one allocation.
  at::Tensor denoised() const { return denoised_from(parameterization, from())(x, output); }
};

/// What a multistep solver keeps between the steps of one run. Owned by the loop; empty at its start.
struct SolverHistory {
  at::Tensor denoised;        ///< x0 estimate of the step before
  at::Tensor older_denoised;  ///< and of the one before that
  at::Tensor x;               ///< latents the step before started from; undefined if they were changed since
  int order = 0;              ///< order the step before was taken with; 0 at the start
};

/// One update rule. Immutable; state is an argument.
/// Thread:  const calls are safe concurrently.   Random: stochastic solvers draw from `noise`, one draw per
///          step.
class Solver {
 public:
  virtual ~Solver() = default;

  /// Returns the latents at step.to(). Never writes into step.x or step.output.
  virtual at::Tensor step(const SolverStep& step, SolverHistory& history, NoiseStream& noise) const = 0;

  /// Returns the levels of a run with this solver through a model trained so, where diffusers' solver of this
  /// name has them.
  /// Errors:  InvalidArgument if steps is not in [1, train_steps], or an option does not apply to the solver.
  virtual NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const = 0;
  virtual NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const = 0;

  /// Returns the branches whose raw outputs a step reads beside the guided output.
  virtual BranchSet reads() const { return {.cond = false}; }

  /// Throws InvalidArgument, with the reason, if the solver cannot run the model on this schedule.
  virtual void validate(const NoiseSchedule& /*schedule*/, const ModelInfo& /*model*/) const {}
};

}  // namespace glint
