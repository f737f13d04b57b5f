// Denoise and invert: one first-order step towards the data or towards the noise, along a predictor's
// prediction.
#pragma once

#include <glint/core/options.hpp>
#include <glint/sampling/run.hpp>

namespace glint {

/// Where an inversion evaluates the network. The exact inverse needs the prediction at the state it is
/// looking for.
enum class Evaluation {
  Destination,  ///< the state at hand, under the label of the level it goes to (what the published code does)
  Source,      ///< the state at hand, under its own level's label: the textbook Euler step of the reverse ODE
  LinearPrev,  ///< the state at hand, under the destination's label minus train_steps/N
  FixedPoint   ///< iterate towards the exact inverse, starting from a guess
};
template <>
struct EnumNames<Evaluation> {
  static constexpr std::array<std::string_view, 4> values{"destination", "source", "linear-prev",
                                                          "fixed-point"};
};

/// Which pair of levels an inversion's coefficients are taken from.
enum class Coefficients {
  Matched,        ///< the levels it goes between
  LegacyShifted,  ///< one step cleaner, as the released Z-Sampling, W2SD and NPNet code does
  LegacyUpper     ///< one step noisier, as the released RF-Sampling code does
};
template <>
struct EnumNames<Coefficients> {
  static constexpr std::array<std::string_view, 3> values{"matched", "legacy-shifted", "legacy-upper"};
};

/// Returns how far the levels of `coefficients` lie from the matched ones on the grid.
constexpr int level_shift(Coefficients coefficients) {
  switch (coefficients) {
    case Coefficients::LegacyShifted: return 1;
    case Coefficients::LegacyUpper: return -1;
    default: return 0;
  }
}

struct InvertOptions {
  Evaluation evaluation = Evaluation::Destination;
  int iterations = 2;  ///< of Evaluation::FixedPoint
  Coefficients coefficients = Coefficients::Matched;
};

/// Returns x carried from grid position `from` to the cleaner position `to` along the predictor's prediction
/// at `from`; `memory` as in Run::predict.
/// Cost: 1 model call.   Errors: InvalidArgument unless 0 <= from < to <= steps; those of Run::predict.
inline at::Tensor denoise(Run& run, const Predictor& predictor, const at::Tensor& x, int from, int to,
                          GuidanceState* memory = nullptr) {
  const NoiseSchedule& schedule = run.schedule();
  GLINT_CHECK(0 <= from && from < to && to <= schedule.steps(), InvalidArgument,
              "denoise: expected 0 <= from < to <= {}, got from {} to {}", schedule.steps(), from, to);
  const at::Tensor output = run.predict(predictor, x, schedule.level(from), from, memory);
  return move(x, output, predictor.model->info().parameterization, schedule.level(from), schedule.level(to));
}

/// Returns y carried from grid position `from` to the noisier position `to`, approximately undoing `denoise`.
/// `guess` is where FixedPoint starts (the state before the denoise, if known: then equal predictors give it
/// back exactly); y itself if not given.
/// Cost:    1 model call; `iterations` calls for FixedPoint.
/// Errors:  InvalidArgument unless 0 <= to < from <= steps, or FixedPoint with iterations < 1; Numerical
///          where the parameterization is singular (x0 models at the terminal level); those of Run::predict.
/// Source:  DDIM inversion (Song et al. 2021); Picard iteration: Pan et al., "AIDI", ICCV 2023, Eq. 9.
inline at::Tensor invert(Run& run, const Predictor& predictor, const at::Tensor& y, int from, int to,
                         const InvertOptions& options, const at::Tensor* guess = nullptr) {
  const NoiseSchedule& schedule = run.schedule();
  GLINT_CHECK(0 <= to && to < from && from <= schedule.steps(), InvalidArgument,
              "invert: expected 0 <= to < from <= {}, got from {} to {}", schedule.steps(), from, to);
  const int shift = level_shift(options.coefficients);
  const Affine step = move_coefficients(predictor.model->info().parameterization,
                                        schedule.level(schedule.clamp(from + shift)),
                                        schedule.level(schedule.clamp(to + shift)));
  switch (options.evaluation) {
    case Evaluation::Destination: return step(y, run.predict(predictor, y, schedule.level(to), to));
    case Evaluation::Source: return step(y, run.predict(predictor, y, schedule.level(from), to));
    case Evaluation::LinearPrev: {
      Level label = schedule.level(to);
      const double spacing = std::floor(schedule.train_steps() / schedule.steps());
      label.model_time = std::max(0.0, label.model_time - spacing);
      if (schedule.kind() == NoiseKind::Flow) {
        label.sigma = label.model_time / schedule.train_steps();
        label.alpha = 1.0 - label.sigma;
      }
      return step(y, run.predict(predictor, y, label, to));
    }
    case Evaluation::FixedPoint: {
      GLINT_CHECK(options.iterations >= 1, InvalidArgument, "iterations: expected at least 1, got {}",
                  options.iterations);
      at::Tensor z = guess ? *guess : y;
      for (int k = 0; k < options.iterations; ++k)
        z = step(y, run.predict(predictor, z, schedule.level(to), to));
      return z;
    }
  }
  fail(ErrorCode::Internal, "evaluation: unknown value {}", static_cast<int>(options.evaluation));
}

}  // namespace glint
