#include <glint/core/error.hpp>
#include <glint/eval/statistics.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace glint {
namespace {

constexpr double kNormalQuantile = 1.959963984540054;  // two-sided 95 %
constexpr int kBootstrapDraws = 4000;
constexpr int kSignDraws = 9999;

/// Returns the mean of each prompt's values.
std::vector<double> prompt_means(std::span<const double> values, int64_t seeds) {
  const auto group = static_cast<size_t>(std::max<int64_t>(seeds, 0));
  GLINT_CHECK(group > 0 && !values.empty() && values.size() % group == 0, InvalidArgument,
              "values: expected {} for each prompt, got {}", seeds, values.size());
  std::vector<double> means;
  for (size_t first = 0; first < values.size(); first += group)
    means.push_back(mean(values.subspan(first, group)));
  return means;
}

double variance(std::span<const double> values) {
  if (values.size() < 2) return 0.0;
  const double centre = mean(values);
  double sum = 0.0;
  for (const double value : values) sum += (value - centre) * (value - centre);
  return sum / static_cast<double>(values.size() - 1);
}

}  // namespace

ConfidenceInterval wilson_interval(double rate, double trials) {
  GLINT_CHECK(rate >= 0.0 && rate <= 1.0, InvalidArgument, "rate: expected a value in [0, 1], got {}", rate);
  GLINT_CHECK(trials > 0.0, InvalidArgument, "trials: expected a positive number, got {}", trials);
  const double z2 = kNormalQuantile * kNormalQuantile, scale = 1.0 + z2 / trials;
  const double centre = (rate + z2 / (2.0 * trials)) / scale;
  const double half =
      kNormalQuantile * std::sqrt(rate * (1.0 - rate) / trials + z2 / (4.0 * trials * trials)) / scale;
  return {.low = std::max(0.0, centre - half), .high = std::min(1.0, centre + half)};
}

WinRate win_rate(std::span<const double> scores, std::span<const double> baseline, int64_t seeds) {
  GLINT_CHECK(scores.size() == baseline.size(), InvalidArgument,
              "scores: expected as many as the baseline's {}, got {}", baseline.size(), scores.size());
  WinRate result;
  std::vector<double> points;
  for (size_t i = 0; i < scores.size(); ++i) {
    const bool won = scores[i] > baseline[i], tied = scores[i] == baseline[i];
    result.wins += won;
    result.ties += tied;
    result.losses += !won && !tied;
    points.push_back(won ? 1.0 : tied ? 0.5 : 0.0);
  }
  const std::vector<double> means = prompt_means(points, seeds);
  result.rate = mean(means);
  const auto pairs = static_cast<double>(points.size());
  const double independent = variance(points) / pairs;
  const double clustered = variance(means) / static_cast<double>(means.size());
  const double design_effect = seeds > 1 && independent > 0.0 ? std::max(1.0, clustered / independent) : 1.0;
  result.effective_pairs = pairs / design_effect;
  result.interval = wilson_interval(result.rate, result.effective_pairs);
  return result;
}

double mean(std::span<const double> values) {
  GLINT_CHECK(!values.empty(), InvalidArgument, "values: expected at least one, got none");
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

ConfidenceInterval bootstrap_interval(std::span<const double> values, int64_t seeds) {
  const std::vector<double> units = prompt_means(values, seeds);
  // Not a standard distribution: their results differ between libraries.
  std::mt19937_64 random(0);
  std::vector<double> means;
  for (int draw = 0; draw < kBootstrapDraws; ++draw) {
    double sum = 0.0;
    for (size_t i = 0; i < units.size(); ++i) sum += units[random() % units.size()];
    means.push_back(sum / static_cast<double>(units.size()));
  }
  std::sort(means.begin(), means.end());
  constexpr auto kCut = static_cast<size_t>(0.025 * kBootstrapDraws);
  return {.low = means[kCut], .high = means[means.size() - 1 - kCut]};
}

double randomization_p(std::span<const double> differences, int64_t seeds) {
  const std::vector<double> units = prompt_means(differences, seeds);
  const double observed = std::abs(std::accumulate(units.begin(), units.end(), 0.0));
  std::mt19937_64 random(0);
  int as_far = 0;
  for (int draw = 0; draw < kSignDraws; ++draw) {
    double sum = 0.0;
    uint64_t signs = 0;
    for (size_t i = 0; i < units.size(); ++i) {
      if (i % 64 == 0) signs = random();
      sum += (signs & 1) != 0 ? units[i] : -units[i];
      signs >>= 1;
    }
    as_far += std::abs(sum) >= observed * (1.0 - 1e-12);  // equal sums in another order round differently
  }
  return (1.0 + as_far) / (1.0 + kSignDraws);
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double largest = 0.0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, static_cast<double>(p.size() - rank) * p[order[rank]]);
    adjusted[order[rank]] = std::min(1.0, largest);
  }
  return adjusted;
}

}  // namespace glint
