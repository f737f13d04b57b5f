// The sampler: a model, a noise schedule, a solver and the strategies around them.
#pragma once

#include <glint/export.hpp>
#include <glint/sampling/noise_strategy.hpp>
#include <glint/sampling/request.hpp>
#include <glint/sampling/step_strategy.hpp>
#include <glint/solver/solver.hpp>

#include <memory>
#include <vector>

namespace glint {

/// The parts of a sampler.
struct SamplerParts {
  Predictor predictor;
  NoiseSchedule schedule;
  std::shared_ptr<const Solver> solver;
  std::vector<std::shared_ptr<const NoiseStrategy>> noise_strategies = {};  ///< run before the loop, in order
  std::vector<StepMethod> step_methods = {};                                ///< run at each step, in order
  std::shared_ptr<const StepCache> cache = nullptr;  ///< spares evaluations; null = none
};

/// Samples latents from noise. Immutable after construction; a failed or cancelled run leaves no trace.
/// Thread:  sample() may run on several threads at once.
class GLINT_API Sampler {
 public:
  /// Errors: InvalidArgument, naming the part and the reason, for any combination that cannot work.
  explicit Sampler(SamplerParts parts);

  /// Returns latents for the request.
  /// Cost:    the solver's guided predictions, less what the cache spares, plus the strategies' own cost.
  /// Dtype:   that of request.noise, else float32.
  /// Errors:  ShapeMismatch, UnsupportedDtype, InvalidArgument for a bad request; Numerical for non-finite
  ///          noise or latents; Cancelled. What a model, strategy or observer of the host throws becomes
  ///          Internal (OutOfMemory for failed allocations), with the original exception nested in it.
  SampleResult sample(const SampleRequest& request) const;

  const NoiseSchedule& schedule() const { return parts_.schedule; }
  const Predictor& predictor() const { return parts_.predictor; }
  const SamplerParts& parts() const { return parts_; }

 private:
  SampleResult sampled(const SampleRequest& request) const;

  SamplerParts parts_;
};

}  // namespace glint
