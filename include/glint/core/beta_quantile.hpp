// Quantiles of the symmetric beta distribution, which beta sigmas are placed at.
#pragma once

#include <cmath>

namespace glint::detail {

/// Returns I_x(a, a), the regularised incomplete beta function, for 0 <= x <= 1/2.
/// Source:  Press et al., "Numerical Recipes", 6.4: the continued fraction by Lentz's method.
inline double incomplete_beta(double a, double x) {
  if (x <= 0.0) return 0.0;
  constexpr double kTiny = 1e-300, kSmallest = 1e-17;
  const auto nonzero = [](double value) { return std::abs(value) < kTiny ? kTiny : value; };
  double c = 1.0, d = 1.0 / nonzero(1.0 - 2.0 * a * x / (a + 1.0)), fraction = d;
  for (int m = 1; m <= 200; ++m) {
    const double even = m * (a - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1.0 / nonzero(1.0 + even * d);
    c = nonzero(1.0 + even / c);
    fraction *= d * c;
    const double odd = -(a + m) * (2.0 * a + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1.0 / nonzero(1.0 + odd * d);
    c = nonzero(1.0 + odd / c);
    const double change = d * c;
    fraction *= change;
    if (std::abs(change - 1.0) < kSmallest) break;
  }
  const double log_beta = 2.0 * std::lgamma(a) - std::lgamma(2.0 * a);
  return std::exp(a * (std::log(x) + std::log1p(-x)) - log_beta) * fraction / a;
}

/// Returns x with I_x(a, a) = p, for 0 <= p <= 1 and a > 0, to 15 digits.   Cost: some microseconds.
inline double beta_quantile(double a, double p) {
  if (p > 0.5) return 1.0 - beta_quantile(a, 1.0 - p);
  double low = 0.0, high = 0.5;
  for (int i = 0; i < 100; ++i) {
    const double middle = 0.5 * (low + high);
    (incomplete_beta(a, middle) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

}  // namespace glint::detail
