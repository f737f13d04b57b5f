// Interfaces of per-step methods: strategies act on a step's latents, terms on its prediction.
#pragma once

#include <glint/sampling/run.hpp>

#include <concepts>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace glint {

/// What a strategy may use. `predictor` is the run's own, which the accepted step predicts with.
struct StepContext {
  Run& run;
  const Predictor& predictor;
  int step;
};

/// Improves a step's latents before the step is taken, in list order. Never sees the solver's history.
/// Immutable; const calls are safe concurrently.
class StepStrategy {
 public:
  virtual ~StepStrategy() = default;

  /// Returns the name under which usage and reports are listed.
  virtual std::string_view name() const = 0;

  /// Returns whether the strategy is active at step i of n.
  virtual bool active(int i, int n) const = 0;

  /// Returns the improved x. Never writes to x.   Shapes: x [B,...]; returns the same shape.
  virtual at::Tensor refine(const at::Tensor& x, const StepContext& context) const = 0;

  /// Called when a sampler is built. Throws InvalidArgument, with the reason, if the strategy does not suit
  /// it.
  virtual void validate(const NoiseSchedule& /*schedule*/, const Predictor& /*predictor*/) const {}
};

/// A weighted difference of two predictions.
struct Gap {
  Predictor strong, weak;
  double weight;
};

/// Adds the sum of weight (P_strong - P_weak) to a step's accepted prediction, evaluated in one batch with
/// it. Immutable; const calls are safe concurrently.
class PredictionTerm {
 public:
  virtual ~PredictionTerm() = default;

  /// Returns what to add at a step; empty where the term is inactive. `predictor` is the run's own.
  virtual std::vector<Gap> gaps(const NoiseSchedule& schedule, int step,
                                const Predictor& predictor) const = 0;

  /// As StepStrategy::validate.
  virtual void validate(const NoiseSchedule& /*schedule*/, const Predictor& /*predictor*/) const {}
};

/// A per-step method: a strategy on the latents, a term on the prediction, or both.
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
