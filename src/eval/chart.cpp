#include "eval/chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace glint::detail {
namespace {

constexpr double kWidth = 480, kHeight = 320, kLeft = 56, kRight = 28, kTop = 24, kBottom = 48;

/// Maps values to positions, with a margin so that nothing touches the frame.
class Axis {
 public:
  Axis(double low, double high, double from, double to) : from_(from), to_(to) {
    const double margin = high > low ? 0.06 * (high - low) : 0.5;
    low_ = low - margin;
    high_ = high + margin;
  }
  double operator()(double value) const { return from_ + (value - low_) / (high_ - low_) * (to_ - from_); }

  /// Returns about five round values between the ends.
  std::vector<double> ticks() const {
    constexpr double kTicks = 5.0;
    const double wanted = (high_ - low_) / kTicks, power = std::pow(10.0, std::floor(std::log10(wanted)));
    const double ratio = wanted / power;
    const double step = power * (ratio < 1.5 ? 1.0 : ratio < 3.5 ? 2.0 : ratio < 7.5 ? 5.0 : 10.0);
    std::vector<double> values;
    for (double i = std::ceil(low_ / step); i * step <= high_; ++i)
      values.push_back(i * step + 0.0);  // no -0
    return values;
  }

 private:
  double low_, high_, from_, to_;
};

std::string line(double x1, double y1, double x2, double y2, const char* style) {
  return fmt::format(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" {}/>)", x1, y1, x2, y2, style);
}

std::string text(double x, double y, const char* anchor, const std::string& what) {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>)", x, y, anchor,
                     escaped(what));
}

constexpr const char* kThin = R"(stroke="currentColor" stroke-opacity="0.25")";
constexpr const char* kStrong = R"(stroke="currentColor" stroke-width="1.5")";

std::string whisker(const ChartPoint& point, const Axis& x, const Axis& y) {
  return line(x(point.x), y(point.interval.low), x(point.x), y(point.interval.high),
              R"(stroke="currentColor" stroke-opacity="0.6")");
}

std::string frame(const Chart& chart, const Axis& x, const Axis& y) {
  std::string svg;
  for (const double tick : x.ticks()) {
    svg += line(x(tick), kTop, x(tick), kHeight - kBottom, kThin);
    svg += text(x(tick), kHeight - kBottom + 18, "middle", fmt::format("{:.4g}", tick));
  }
  for (const double tick : y.ticks()) {
    svg += line(kLeft, y(tick), kWidth - kRight, y(tick), kThin);
    svg += text(kLeft - 6, y(tick) + 4, "end", fmt::format("{:.4g}", tick));
  }
  svg += text((kLeft + kWidth - kRight) / 2, kHeight - 8, "middle", chart.x_title);
  svg += text(4, kTop - 8, "start", chart.y_title);
  return svg;
}

}  // namespace

std::string svg_of(const Chart& chart) {
  std::vector<ChartPoint> all = chart.line;
  all.insert(all.end(), chart.marks.begin(), chart.marks.end());
  if (all.empty()) return "";
  constexpr double kFar = std::numeric_limits<double>::infinity();
  double left = kFar, right = -kFar, low = kFar, high = -kFar;
  for (const ChartPoint& point : all) {
    left = std::min(left, point.x);
    right = std::max(right, point.x);
    low = std::min(low, point.interval.low);
    high = std::max(high, point.interval.high);
  }
  const Axis x(left, right, kLeft, kWidth - kRight), y(low, high, kHeight - kBottom, kTop);
  std::string svg = fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{} against {}">)", kWidth,
                                kHeight, escaped(chart.y_title), escaped(chart.x_title));
  svg += frame(chart, x, y);
  for (size_t i = 0; i + 1 < chart.line.size(); ++i)
    svg +=
        line(x(chart.line[i].x), y(chart.line[i].y), x(chart.line[i + 1].x), y(chart.line[i + 1].y), kStrong);
  for (const ChartPoint& point : chart.line) {
    svg += whisker(point, x, y);
    svg +=
        fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="currentColor"/>)", x(point.x), y(point.y));
  }
  for (const ChartPoint& point : chart.marks) {
    constexpr double kHalf = 5;
    svg += whisker(point, x, y);
    svg +=
        fmt::format(R"(<rect x="{:.1f}" y="{:.1f}" width="10" height="10" fill="none" stroke="currentColor" )"
                    R"(stroke-width="2"/>)",
                    x(point.x) - kHalf, y(point.y) - kHalf);
    svg += text(x(point.x) + 2 * kHalf, y(point.y) - kHalf, "start", point.label);
  }
  return svg + "</svg>";
}

std::string svg_of(const WinRate& rate) {
  constexpr double kBar = 160, kMiddle = 10;
  const auto at = [](double share) { return 4 + share * (kBar - 8); };
  std::string svg = fmt::format(R"(<svg class="bar" viewBox="0 0 {} 20" role="img" aria-label="{:.1f} %">)",
                                kBar, 100 * rate.rate);
  svg += line(at(0), kMiddle, at(1), kMiddle, kThin);
  svg += line(at(0.5), 2, at(0.5), 18, R"(stroke="currentColor" stroke-dasharray="2 2")");
  svg += line(at(rate.interval.low), kMiddle, at(rate.interval.high), kMiddle, kStrong);
  svg += fmt::format(R"(<circle cx="{:.1f}" cy="{}" r="4" fill="currentColor"/>)", at(rate.rate), kMiddle);
  return svg + "</svg>";
}

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      default: result += c;
    }
  }
  return result;
}

}  // namespace glint::detail
