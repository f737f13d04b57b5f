// Interface of a noise strategy, which improves the initial noise before sampling starts.
#pragma once

#include <glint/sampling/run.hpp>

#include <string_view>

namespace glint {

/// What a noise strategy may use.
struct NoiseContext {
  Run& run;
  const Predictor& predictor;
};

/// Improves the initial latents. Strategies run once each, in list order. Immutable.
class NoiseStrategy {
 public:
  virtual ~NoiseStrategy() = default;

  /// Returns the name under which usage and reports are listed.
  virtual std::string_view name() const = 0;

  /// Returns improved initial latents. Never writes to x.   Shapes: x [B,...]; returns the same shape.
  virtual at::Tensor refine(const at::Tensor& x, const NoiseContext& context) const = 0;

  /// Called when a sampler is built. Throws InvalidArgument, with the reason, if the strategy does not suit
  /// it.
  virtual void validate(const NoiseSchedule& /*schedule*/, const Predictor& /*predictor*/) const {}
};

}  // namespace glint
