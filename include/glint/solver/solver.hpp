// Interface of a solver: one update of the latents, given the step's prediction.
#pragma once

#include <glint/core/parameterization.hpp>
#include <glint/core/rng.hpp>
#include <glint/core/schedule.hpp>
#include <glint/core/schedule_options.hpp>
#include <glint/options.hpp>

#include <optional>
#include <string_view>

namespace glint {

/// What one update is computed from.
struct SolverStep {
  const at::Tensor& x;       ///< latents at `index`
  const at::Tensor& output;  ///< guided raw output for x
  Parameterization parameterization;
  const NoiseSchedule& schedule;
  int index;                              ///< the step's grid position; it lands on schedule.landing(index)
  const at::Tensor& null_output = kNone;  ///< raw null output for x, if the solver wants it

  const Level& from() const { return schedule.level(index); }
  const Level& to() const { return schedule.landing(index); }
  static inline const at::Tensor kNone = {};
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

/// Guidance scales.
struct GuidanceRange {
  double fallback, smallest, largest;
};

/// One update rule. Immutable; state is an argument.
/// Thread:  const calls are safe concurrently.   Random: stochastic solvers draw from `noise`, one draw per step.
class Solver {
 public:
  virtual ~Solver() = default;

  /// Returns the latents at step.to(). Never writes into step.x or step.output.
  virtual at::Tensor step(const SolverStep& step, SolverHistory& history, NoiseStream& noise) const = 0;

  /// Returns the convention by which diffusers' solver of this name places its grid.
  virtual GridConvention grid() const = 0;

  /// Returns whether the solver needs the prediction under the null prompt beside the guided one.
  virtual bool wants_null() const { return false; }

  /// Returns the guidance scales the solver is made for, if those are not the model's.
  virtual std::optional<GuidanceRange> guidance_range() const { return std::nullopt; }

  /// Throws InvalidArgument, with the reason, if the solver cannot run on this schedule.
  virtual void validate(const NoiseSchedule& /*schedule*/) const {}
};

}  // namespace glint
