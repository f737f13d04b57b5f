// Statistics of paired evaluations. Scores come in prompt order, `seeds` of each prompt together; what is
// resampled are prompts, since the seeds of one prompt are alike.
#pragma once

#include <glint/export.hpp>

#include <cstdint>
#include <span>
#include <vector>

namespace glint {

/// One of 95 %.
struct ConfidenceInterval {
  double low = 0.0, high = 0.0;
};

/// How often the first of two paired scores is higher.
struct WinRate {
  int64_t wins = 0, ties = 0, losses = 0;
  double rate = 0.0;                 ///< (wins + ties / 2) / pairs
  ConfidenceInterval interval = {};  ///< Wilson's, at `effective_pairs`
  double effective_pairs = 0.0;      ///< pairs, or fewer where the seeds of a prompt agree
};

/// Wilson's score interval of a binomial proportion. `trials` need not be whole.
/// Errors:  InvalidArgument for a rate outside [0,1] or trials <= 0.
/// Source:  Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
GLINT_API ConfidenceInterval wilson_interval(double rate, double trials);

/// Compares paired scores; equal ones count half.
/// Errors:  InvalidArgument for lists of different or no length, or not of `seeds` per prompt.
/// Source:  effective pairs: Korn and Graubard, "Confidence intervals for proportions with small expected
///          number of positive counts estimated from survey data", 1998, by the design effect.
GLINT_API WinRate win_rate(std::span<const double> scores, std::span<const double> baseline,
                           int64_t seeds = 1);

/// Returns the mean.   Errors: InvalidArgument for an empty list.
GLINT_API double mean(std::span<const double> values);

/// Returns the percentile bootstrap interval of the mean, prompts resampled 4000 times.
/// Errors:  as win_rate.
/// Random:  the same values give the same interval on every machine.
/// Source:  Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
GLINT_API ConfidenceInterval bootstrap_interval(std::span<const double> values, int64_t seeds = 1);

/// Returns the two-sided p-value of a mean difference of zero: how often random signs of the prompts' mean
/// differences give a mean at least as far from zero. 9999 draws, so at least 1e-4.
/// Errors, Random:  as bootstrap_interval.
/// Source:  Fisher's randomization test; Phipson and Smyth, "Permutation P-values should never be zero",
///          2010.
GLINT_API double randomization_p(std::span<const double> differences, int64_t seeds = 1);

/// Returns the p-values adjusted for their number, in the same order.
/// Source:  Holm, "A simple sequentially rejective multiple test procedure", 1979.
GLINT_API std::vector<double> holm(std::span<const double> p);

}  // namespace glint
