// Quantiles of the Beta distribution, for noise grids.
#pragma once

#include <algorithm>
#include <cmath>

namespace glint::detail {

/// Returns the continued fraction of the incomplete beta function, by Lentz's method.
inline double beta_fraction(double x, double a, double b) {
  constexpr double kTiny = 1e-300;
  const auto away_from_zero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1.0, d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0)), fraction = d;
  for (int m = 1; m <= 1000; ++m) {
    const double even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
    double factor = 1.0;
    for (double term : {even, odd}) {
      d = 1.0 / away_from_zero(1.0 + term * d);
      c = away_from_zero(1.0 + term / c);
      factor = c * d;
      fraction *= factor;
    }
    if (std::abs(factor - 1.0) < 1e-15) break;
  }
  return fraction;
}

/// Returns P(X <= x) of X ~ Beta(a, b), a, b > 0: the regularised incomplete beta function.
/// Source:  Abramowitz and Stegun, 26.5.8.
inline double beta_probability(double x, double a, double b) {
  if (x <= 0.0) return 0.0;
  if (x >= 1.0) return 1.0;
  const double scale =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  // The fraction converges fast below the mean; above it, use the symmetry.
  if (x < (a + 1.0) / (a + b + 2.0)) return scale * beta_fraction(x, a, b) / a;
  return 1.0 - scale * beta_fraction(1.0 - x, b, a) / b;
}

/// Returns the x with P(X <= x) = p, by bisection to the last bit.
inline double beta_quantile(double p, double a, double b) {
  double low = 0.0, high = 1.0;
  for (;;) {
    const double middle = low + (high - low) / 2.0;
    if (middle <= low || middle >= high) return p >= 1.0 ? 1.0 : middle;
    (beta_probability(middle, a, b) < p ? low : high) = middle;
  }
}

}  // namespace glint::detail
