// Reflection, the operator behind Z-Sampling, W2SD, RF-Sampling and Z-CoRe2: denoise with one predictor,
// invert with another.
#pragma once

#include <glint/sampling/moves.hpp>
#include <glint/sampling/predictor_changes.hpp>
#include <glint/sampling/step_strategy.hpp>
#include <glint/step/reflect_options.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace glint {

/// Throws InvalidArgument, prefixing its message with `name`, unless both of a reflection's predictors are
/// compatible with the run's own.
inline void check_sides(std::string_view name, const Predictor& strong, const Predictor& weak,
                        const NoiseSchedule& schedule, const Predictor& own) {
  for (const auto& [which, side] : {std::pair{"strong", &strong}, std::pair{"weak", &weak}}) {
    const std::string owner = message("{}, {} predictor: ", name, which);
    check_predictor(owner, *side, schedule.steps());
    check_same_latents(owner, *side->model, *own.model);
  }
}

/// Replaces x by x + m (I^W D^S x - x), T times: D^S denoises K steps with the strong predictor, I^W inverts
/// them with the weak one. To first order this adds T m (P_strong - P_weak), the gap between the predictors,
/// to the next prediction while the noise level stays the same.
/// Cost:    T min(K, N-1-i) (G_strong + G_weak) rows per sample at active step i, G = rows per prediction of
///          that predictor (fixed-point: G_weak times its iterations).
/// Errors:  InvalidArgument for options out of range, form=direct, or predictors whose models differ in
///          parameterization or noise kind.
/// Source:  Bai et al., "Zigzag Diffusion Sampling", ICLR 2025, arXiv:2412.10891; Bai et al., "Weak-to-Strong
///          Diffusion with Reflection", arXiv:2502.00473, Alg. 1. Deviation: near the end
///          K shrinks instead of repeating the last step, so the terminal level is never inverted (unless
///          repeat_last is set).
class Reflect final : public StepStrategy {
 public:
  Reflect(std::string name, PredictorChange strong, PredictorChange weak, ReflectOptions options)
      : name_(std::move(name)), strong_(std::move(strong)), weak_(std::move(weak)), options_(options) {
    check_ranges(name_, options_);
    GLINT_CHECK(options_.form == Form::Reflect, InvalidArgument,
                "{}.form: Reflect moves the latents; reflection() makes either form", name_);
  }

  std::string_view name() const override { return name_; }

  bool active(int i, int n) const override { return reflects_at(options_, i, n); }

  at::Tensor refine(const at::Tensor& x, const StepContext& context) const override {
    const Predictor strong = strong_(context.predictor), weak = weak_(context.predictor);
    at::Tensor refined = x;
    for (int t = 0; t < options_.repeats; ++t) refined = reflect_once(refined, context, strong, weak);
    return refined;
  }

  void validate(const NoiseSchedule& schedule, const Predictor& predictor) const override {
    check_sides(name_, strong_(predictor), weak_(predictor), schedule, predictor);
    // Throws now if an inversion's coefficients are singular, so that the run cannot fail midway.
    const int shift = level_shift(options_.invert.coefficients);
    for (int i = 0; i < schedule.steps(); ++i)
      if (active(i, schedule.steps()))
        move_coefficients(predictor.model->info().parameterization,
                          schedule.level(schedule.clamp(i + 1 + shift)),
                          schedule.level(schedule.clamp(i + shift)));
    GLINT_CHECK(options_.span < schedule.steps() || schedule.steps() == 1, InvalidArgument,
                "{}.span: expected fewer than the run's {} steps, got {}", name_, schedule.steps(),
                options_.span);
  }

 private:
  at::Tensor reflect_once(const at::Tensor& x, const StepContext& c, const Predictor& strong,
                          const Predictor& weak) const {
    const int last = c.run.schedule().steps() - 1;
    const int span = options_.repeat_last ? options_.span : (std::min)(options_.span, last - c.step);
    const auto step = [&](int k) { return (std::min)(c.step + k, last); };
    // The states before each denoise, the starting guesses of fixed-point inversion.
    std::vector<at::Tensor> states{x};
    at::Tensor y = x;
    for (int k = 0; k < span; ++k) {
      y = denoise(c.run, strong, y, step(k), step(k) + 1);
      if (k + 1 < span) states.push_back(y);
    }
    for (int k = span - 1; k >= 0; --k)
      y = invert(c.run, weak, y, step(k) + 1, step(k), options_.invert, &states[static_cast<size_t>(k)]);
    return options_.merge == 1.0 ? y : at::lerp(x, y, options_.merge);
  }

  std::string name_;
  PredictorChange strong_, weak_;
  ReflectOptions options_;
};

/// Adds a reflection's first-order effect to the prediction: T m (P_strong - P_weak) for each step of the
/// span.
/// Cost:    the predictors' branches that the accepted prediction does not already evaluate.
class DirectReflection final : public PredictionTerm {
 public:
  DirectReflection(std::string name, PredictorChange strong, PredictorChange weak, ReflectOptions options)
      : name_(std::move(name)), strong_(std::move(strong)), weak_(std::move(weak)), options_(options) {
    check_ranges(name_, options_);
  }

  std::vector<Gap> gaps(const NoiseSchedule& schedule, int step, const Predictor& predictor) const override {
    if (!reflects_at(options_, step, schedule.steps())) return {};
    const int end = (std::min)(step + options_.span, schedule.steps() - 1);
    // In units of this step's length, which is infinite where the schedule starts at pure noise.
    double passed = 0.0;
    for (int j = step; j < end; ++j) passed += j == step ? 1.0 : length(schedule, j) / length(schedule, step);
    return {{strong_(predictor), weak_(predictor), options_.repeats * options_.merge * passed}};
  }

  void validate(const NoiseSchedule& schedule, const Predictor& predictor) const override {
    check_sides(name_, strong_(predictor), weak_(predictor), schedule, predictor);
  }

 private:
  /// Returns a step's length in the variable in which first-order updates are linear.
  static double length(const NoiseSchedule& schedule, int i) {
    const Level &from = schedule.level(i), &to = schedule.level(i + 1);
    return schedule.kind() == NoiseKind::Flow ? from.sigma - to.sigma : from.ratio() - to.ratio();
  }

  std::string name_;
  PredictorChange strong_, weak_;
  ReflectOptions options_;
};

/// Returns the reflection in the form selected by the options.
inline StepMethod reflection(std::string name, PredictorChange strong, PredictorChange weak,
                             const ReflectOptions& options) {
  if (options.form == Form::Direct)
    return std::make_shared<const DirectReflection>(std::move(name), std::move(strong), std::move(weak),
                                                    options);
  return std::make_shared<const Reflect>(std::move(name), std::move(strong), std::move(weak), options);
}

}  // namespace glint
