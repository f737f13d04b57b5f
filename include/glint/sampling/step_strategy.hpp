// Interfaces of what works at every step: strategies on its latents, terms on its prediction.
#pragma once

#include <glint/sampling/run.hpp>

#include <concepts>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace glint {

/// What a strategy may use. `predictor` is the run's own predictor: the one the accepted step predicts with.
struct StepContext {
  Run& run;
  const Predictor& predictor;
  int step;
};

/// Improves the latents of a step before it is taken. Runs before the denoise of the step, in list order.
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

  /// Called when a sampler is built. Throws InvalidArgument, with the reason, if the strategy cannot work
  /// there.
  virtual void validate(const NoiseSchedule& /*schedule*/, const Predictor& /*predictor*/) const {}
};

/// A weighted difference of two predictions.
struct Gap {
  Predictor strong, weak;
  double weight;
};

/// Adds to the accepted prediction of a step: sum of weight (P_strong - P_weak), evaluated in one batch with
/// it. Immutable; const calls are safe concurrently.
class PredictionTerm {
 public:
  virtual ~PredictionTerm() = default;

  /// Returns what is added at a step, nothing where the term is not active. `predictor` is the run's own.
  virtual std::vector<Gap> gaps(const NoiseSchedule& schedule, int step,
                                const Predictor& predictor) const = 0;

  /// As StepStrategy::validate.
  virtual void validate(const NoiseSchedule& /*schedule*/, const Predictor& /*predictor*/) const {}
};

/// A method that works at every step: on the latents before it, on its prediction, or on both.
struct StepMethod {
  std::shared_ptr<const StepStrategy> strategy = nullptr;
  std::shared_ptr<const PredictionTerm> term = nullptr;

  StepMethod() = default;
  template <std::derived_from<StepStrategy> T>
  StepMethod(std::shared_ptr<T> refines) : strategy(std::move(refines)) {}
  template <std::derived_from<PredictionTerm> T>
  StepMethod(std::shared_ptr<T> adds) : term(std::move(adds)) {}
};

}  // namespace glint
