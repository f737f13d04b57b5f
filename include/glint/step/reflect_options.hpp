// Options shared by all reflection strategies.
#pragma once

#include <glint/core/options.hpp>
#include <glint/core/step_window.hpp>
#include <glint/sampling/moves.hpp>

namespace glint {

/// How a reflection is applied.
enum class Form {
  Reflect,  ///< denoise and invert, as published
  Direct    ///< add its first-order effect, the gap between the predictors, to the step's prediction
};
template <>
struct EnumNames<Form> {
  static constexpr std::array<std::string_view, 2> values{"reflect", "direct"};
};

struct ReflectOptions {
  int span = 1;        ///< K: steps denoised, then inverted
  double merge = 1.0;  ///< m: x + m (x' - x)
  int repeats = 1;     ///< T: reflections per step
  StepWindow window = {};
  InvertOptions invert = {};
  Form form = Form::Reflect;
  bool legacy = false;  ///< reproduce the released code; see each strategy
  /// At the end of the grid, repeat the last step instead of shortening the span, and reflect before the last
  /// step too, as the released RF-Sampling code does. Not an option: RF-Sampling's legacy=true sets it.
  bool repeat_last = false;

  /// Visits the shared fields; the strategies' own `fields` call this.
  static void fields(auto& visit, auto& o) {
    visit("repeats", o.repeats,
          Field{.help = "reflections per active step; 0 = off", .minimum = 0, .maximum = 1000});
    visit("span", o.span,
          Field{.help = "steps denoised, then inverted, per reflection",
                .minimum = 1,
                .maximum = 1000,
                .unit = "steps"});
    visit("merge", o.merge,
          Field{.help = "fraction of the displacement to keep; 0 = off", .minimum = -10, .maximum = 10});
    StepWindow::fields(visit, o.window, "first active step",
                       "end of the active steps; the last step is never active");
    visit("evaluation", o.invert.evaluation, Field{.help = "where the inversion evaluates the network"});
    visit("iterations", o.invert.iterations,
          Field{.help = "iterations for evaluation=fixed-point; each costs the weak predictor's rows",
                .minimum = 1,
                .maximum = 1000});
    visit("coefficients", o.invert.coefficients,
          Field{.help = "which levels the inversion takes its coefficients from"});
    visit("form", o.form,
          Field{.help = "reflect as published, or add the first-order effect to the prediction (direct)"});
    visit("legacy", o.legacy,
          Field{.help =
                    "reproduce the released code, overriding the options above as each strategy documents"});
  }
};

/// Returns whether a reflection is active at step i of n. The last step is excluded: some parameterizations
/// cannot invert from the terminal level, and no later step would benefit.
inline bool reflects_at(const ReflectOptions& o, int i, int n) {
  return o.repeats > 0 && o.merge != 0.0 && o.window.contains(i, n) && (i < n - 1 || o.repeat_last);
}

/// Returns the options with legacy=true expanded: inversion as in the released code, evaluated at the
/// destination with these `coefficients`.
/// Errors:  InvalidArgument for legacy with the direct form, which no released code has.
inline ReflectOptions with_legacy_inversion(std::string_view owner, ReflectOptions o,
                                            Coefficients coefficients = Coefficients::LegacyShifted) {
  if (!o.legacy) return o;
  GLINT_CHECK(o.form == Form::Reflect, InvalidArgument,
              "{}.legacy: the released code has no direct form; expected form=reflect, got form=direct",
              owner);
  o.invert.evaluation = Evaluation::Destination;
  o.invert.coefficients = coefficients;
  return o;
}

}  // namespace glint
