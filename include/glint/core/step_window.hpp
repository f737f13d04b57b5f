// A range of a run's steps, given as fractions.
#pragma once

#include <glint/core/options.hpp>

#include <cmath>
#include <string_view>

namespace glint {

/// The steps i of n with floor(start n) <= i < floor(stop n).
struct StepWindow {
  double start = 0.0;
  double stop = 1.0;

  /// Returns the first step of the window; end() is one past the last.
  int first(int n) const { return step_at(start, n); }
  int end(int n) const { return step_at(stop, n); }

  bool contains(int i, int n) const { return first(n) <= i && i < end(n); }

  friend bool operator==(const StepWindow&, const StepWindow&) = default;

  /// Describes the two ends as options `start` and `stop`, in words of what the window is of.
  static void fields(auto& visit, auto& window, std::string_view start, std::string_view stop) {
    visit("start", window.start, end_field(start));
    visit("stop", window.stop, end_field(stop));
  }

 private:
  static constexpr Field end_field(std::string_view help) {
    return Field{.help = help, .minimum = 0, .maximum = 1, .unit = "fraction of steps"};
  }

  // 0.29 * 100 is 28.999...96 in binary, so nudge: a fraction meant to hit a step must hit it.
  static int step_at(double fraction, int n) { return static_cast<int>(std::floor(fraction * n + 1e-9)); }
};

}  // namespace glint
