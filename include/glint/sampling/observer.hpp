// Interface for watching a run: progress, previews, traces, cancellation.
#pragma once

#include <glint/core/level.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/model/branches.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// Network evaluations so far. One row is one pass of one sample through the network.
struct Usage {
  int64_t calls = 0;
  int64_t rows = 0;
  double seconds = 0.0;

  Usage& operator+=(const Usage& more) {
    calls += more.calls;
    rows += more.rows;
    seconds += more.seconds;
    return *this;
  }
};

/// Figures reported by strategies, one value per sample: strategy -> figure -> values.
using Reports = std::map<std::string, std::map<std::string, std::vector<double>>, std::less<>>;

/// An accepted step of the sampler.
struct StepEvent {
  int step;                  ///< 0 is the noisiest
  int steps;                 ///< number of steps in the run
  const Level& from;         ///< where the step predicted: level `step` of the grid, unless the solver churns
  const Level& to;           ///< where it landed
  const at::Tensor& x_from;  ///< latents at level `step`, before any step strategy
  const at::Tensor& x;       ///< latents at `to`
  const Usage& usage;        ///< of the whole run so far
  const at::Tensor& x_refined;  ///< latents the accepted prediction was made at
  const at::Tensor& output;     ///< that guided prediction, in the model's parameterization
  Parameterization parameterization;
  const BranchOutputs& branches;  ///< raw outputs behind it; branches not evaluated are undefined

  /// Returns the step's estimate of the clean latents, for previews.   Cost: two passes, only when called.
  at::Tensor denoised() const { return denoised_from(parameterization, from)(x_refined, output); }
};

/// Override to watch or stop a run. Called on the sampling thread, never after the run.
class Observer {
 public:
  virtual ~Observer() = default;

  /// Called before every model call, including those of inversion and optimization loops, and before every
  /// decoder call, hence between tiles and frames. Return false to cancel the run.
  virtual bool keep_going() { return true; }

  /// Called when a stage begins: "denoise" at the start of the run, a strategy's name whenever that strategy
  /// works. Then "decode" before every decoder call, with the calls done so far and the total for the image
  /// or video.
  virtual void on_stage(std::string_view /*name*/, int /*step*/, int /*steps*/) {}

  /// Called after every accepted step. Return false to cancel the run.
  virtual bool on_step(const StepEvent&) { return true; }
};

}  // namespace glint
