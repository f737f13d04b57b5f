// Interface of a noise strategy: it improves the initial noise before the loop begins.
#pragma once

#include <glint/sampling/run.hpp>

#include <string_view>

namespace glint {

/// What a noise strategy may use.
struct NoiseContext {
  Run& run;
  const Predictor& predictor;
};

/// Returns better initial latents than the ones it was handed. Runs once, in list order. Immutable.
class NoiseStrategy {
 public:
  virtual ~NoiseStrategy() = default;

  /// Returns the name usage and reports are listed under.
  virtual std::string_view name() const = 0;

  /// Returns improved initial latents. Never writes into x.   Shapes: x [B,...]; returns the same shape.
  virtual at::Tensor refine(const at::Tensor& x, const NoiseContext& context) const = 0;

  /// Called when a sampler is built. Throws InvalidArgument, with the reason, if the strategy cannot work
  /// there.
  virtual void validate(const NoiseSchedule& /*schedule*/, const Predictor& /*predictor*/) const {}
};

}  // namespace glint
