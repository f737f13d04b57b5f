// Read-only view of a run in progress: progress, previews, traces, cancellation.
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

/// Network evaluations so far. One row is one sample through the network once.
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

/// What strategies found out, one value per sample: by strategy, then by the name of the figure.
using Reports = std::map<std::string, std::map<std::string, std::vector<double>>, std::less<>>;

/// An accepted step of the sampler.
struct StepEvent {
  int step;                     ///< 0 is the noisiest
  int steps;                    ///< steps of the run
  const Level& from;            ///< where the step began
  const Level& to;              ///< where it landed
  const at::Tensor& x_from;     ///< latents at `from`, before any step strategy
  const at::Tensor& x;          ///< latents at `to`
  const Usage& usage;           ///< of the run so far
  const at::Tensor& x_refined;  ///< latents the accepted prediction was made from
  const at::Tensor& output;     ///< that prediction, guided, in the model's parameterization
  Parameterization parameterization;
  const BranchOutputs& branches;  ///< raw outputs it was made from; the others are undefined

  /// Returns the step's estimate of the clean latents, for previews. Cost: two passes, only when asked for.
  at::Tensor denoised() const { return denoised_from(parameterization, from)(x_refined, output); }
};

/// What a host overrides to watch or stop a run. Called on the thread that samples; never called after the
/// run.
class Observer {
 public:
  virtual ~Observer() = default;

  /// Asked before every model call, inside inversion and optimization loops too, and before every call of a
  /// decoder, so between tiles and between frames. False cancels the run.
  virtual bool keep_going() { return true; }

  /// Told when a stage begins: "denoise" at the start of the run, a strategy's name each time that strategy
  /// works. Then "decode", before every call of the decoder, with the calls done and the calls of the picture
  /// or video.
  virtual void on_stage(std::string_view /*name*/, int /*step*/, int /*steps*/) {}

  /// Told after every accepted step. False cancels the run.
  virtual bool on_step(const StepEvent&) { return true; }
};

}  // namespace glint
