// Charts of an evaluation's report, as SVG that reads without colour.
#pragma once

#include <glint/eval/statistics.hpp>

#include <string>
#include <vector>

namespace glint::detail {

/// A point with the interval of its y value. Points with a number are methods; others are joined by a line.
struct ChartPoint {
  double x = 0.0, y = 0.0;
  ConfidenceInterval interval = {};
  std::string label = {};
};

struct Chart {
  std::string x_title, y_title;
  std::vector<ChartPoint> line = {};   ///< sorted by x
  std::vector<ChartPoint> marks = {};  ///< each with its label beside it
};

/// Returns the chart as an <svg> element.
std::string svg_of(const Chart& chart);

/// Returns a bar from 0 to 100 % with its half marked, the interval and the rate.
std::string svg_of(const WinRate& rate);

/// Escapes a text for HTML.
std::string escaped(const std::string& text);

}  // namespace glint::detail
