// What every reflection strategy can be told.
#pragma once

#include <glint/core/options.hpp>
#include <glint/core/step_window.hpp>
#include <glint/sampling/moves.hpp>

namespace glint {

/// How a reflection is carried out.
enum class Form {
  Reflect,  ///< denoise and invert, as published
  Direct    ///< its first-order effect: the gap between the predictors is added to the step's prediction
};
template <>
struct EnumNames<Form> {
  static constexpr std::array<std::string_view, 2> values{"reflect", "direct"};
};

struct ReflectOptions {
  int span = 1;        ///< K: steps forward, and the same number back
  double merge = 1.0;  ///< m: x + m (x' - x)
  int repeats = 1;     ///< T: reflections per step
  StepWindow window = {};
  InvertOptions invert = {};
  Form form = Form::Reflect;
  bool legacy = false;  ///< the released code as it is; each strategy says what that means
  /// At the end of the grid repeat the last step instead of shortening the span, and reflect before the last
  /// step too, as the released RF-Sampling code does. No option of its own: its legacy=true sets it.
  bool repeat_last = false;

  /// The fields every reflection strategy has, for their own `fields` to call.
  static void fields(auto& visit, auto& o) {
    visit("repeats", o.repeats,
          Field{.help = "reflections per active step; 0 is off", .minimum = 0, .maximum = 1000});
    visit("span", o.span,
          Field{.help = "steps forward and back in one reflection",
                .minimum = 1,
                .maximum = 1000,
                .unit = "steps"});
    visit("merge", o.merge,
          Field{.help = "share of the displacement that is kept; 0 is off", .minimum = -10, .maximum = 10});
    visit("start", o.window.start,
          Field{.help = "first active step", .minimum = 0, .maximum = 1, .unit = "fraction of steps"});
    visit("stop", o.window.stop,
          Field{.help = "end of the active steps; the last step is never active",
                .minimum = 0,
                .maximum = 1,
                .unit = "fraction of steps"});
    visit("evaluation", o.invert.evaluation, Field{.help = "where the inversion evaluates the network"});
    visit("iterations", o.invert.iterations,
          Field{.help = "iterations of evaluation=fixed-point; each costs the inverse predictor's rows",
                .minimum = 1,
                .maximum = 1000});
    visit("coefficients", o.invert.coefficients,
          Field{.help = "levels the inversion's coefficients come from"});
    visit("form", o.form,
          Field{.help = "reflect as published, or add its first-order effect to the prediction (direct)"});
    visit("legacy", o.legacy,
          Field{.help = "the released code as it is, whatever of the above it fixes: see the strategy"});
  }
};

/// Returns whether a reflection does anything at step i of n. The last step is left out: the terminal level
/// cannot be left again for every parameterization, and there is nothing after it to gain.
inline bool reflects_at(const ReflectOptions& o, int i, int n) {
  return o.repeats > 0 && o.merge != 0.0 && o.window.contains(i, n) && (i < n - 1 || o.repeat_last);
}

/// Returns the options with legacy=true spelled out: inversions like the released code's, `coefficients` at
/// the destination.
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
