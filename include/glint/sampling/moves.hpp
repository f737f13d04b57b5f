// Denoise and invert: a first-order step towards the data or the noise, along a predictor's prediction.
#pragma once

#include <glint/core/options.hpp>
#include <glint/sampling/run.hpp>

namespace glint {

/// Where an inversion evaluates the network. The exact inverse would need the prediction at the very state it
/// solves for.
enum class Evaluation {
  Destination,  ///< the current state, labelled with the destination level (as the published code does)
  Source,       ///< the current state at its own level: the textbook Euler step of the reverse ODE
  LinearPrev,   ///< the current state, labelled with the destination's time minus train_steps/N
  FixedPoint    ///< iterates towards the exact inverse from a starting guess
};
template <>
struct EnumNames<Evaluation> {
  static constexpr std::array<std::string_view, 4> values{"destination", "source", "linear-prev",
                                                          "fixed-point"};
};

/// Which pair of levels an inversion takes its coefficients from.
enum class Coefficients {
  Matched,        ///< the levels it moves between
  LegacyShifted,  ///< one step cleaner, as in the released Z-Sampling, W2SD and NPNet code
  LegacyUpper     ///< one step noisier, as in the released RF-Sampling code
};
template <>
struct EnumNames<Coefficients> {
  static constexpr std::array<std::string_view, 3> values{"matched", "legacy-shifted", "legacy-upper"};
};

/// Returns the grid offset of these levels from the matched ones.
constexpr int level_shift(Coefficients coefficients) {
  switch (coefficients) {
    case Coefficients::LegacyShifted: return 1;
    case Coefficients::LegacyUpper: return -1;
    default: return 0;
  }
}

struct InvertOptions {
  Evaluation evaluation = Evaluation::Destination;
  int iterations = 2;  ///< for Evaluation::FixedPoint
  Coefficients coefficients = Coefficients::Matched;
};

/// Returns x moved from grid position `from` to the cleaner position `to` along the predictor's prediction at
/// `from`; `memory` is as in Run::predict.
/// Cost: 1 model call.   Errors: InvalidArgument unless 0 <= from < to <= steps; those of Run::predict.
inline at::Tensor denoise(Run& run, const Predictor& predictor, const at::Tensor& x, int from, int to,
                          GuidanceState* memory = nullptr) {
  const NoiseSchedule& schedule = run.schedule();
  GLINT_CHECK(0 <= from && from < to && to <= schedule.steps(), InvalidArgument,
              "denoise: expected 0 <= from < to <= {}, got from {} to {}", schedule.steps(), from, to);
  const at::Tensor output = run.predict(predictor, x, schedule.level(from), from, memory);
  return move(x, output, predictor.model->info().parameterization, schedule.level(from), schedule.level(to));
}

/// Returns y moved from grid position `from` to the noisier position `to`, approximately undoing `denoise`.
/// FixedPoint starts at `guess`, by default y; given the state before the denoise, it returns that state
/// exactly when the predictors are equal.
/// Cost:    1 model call; `iterations` calls with FixedPoint.
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
      label.model_time = (std::max)(0.0, label.model_time - spacing);
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
