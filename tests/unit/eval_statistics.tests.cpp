// Statistics of evaluations: values worked out by hand or by SciPy, and rates over simulated experiments.
#include <glint/eval/statistics.hpp>

#include "tests/support/files.hpp"

#include <cmath>
#include <numeric>
#include <random>

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;

constexpr double kExact = 1e-12;  // a few operations in float64

/// Normal numbers that are the same everywhere, by Box and Muller's method.
class Normal {
 public:
  explicit Normal(uint64_t seed) : random_(seed) {}
  double operator()() {
    const double u = (static_cast<double>(random_()) + 1.0) / 18446744073709551617.0;
    const double v = static_cast<double>(random_()) / 18446744073709551616.0;
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
  }

 private:
  std::mt19937_64 random_;
};

std::vector<double> normals(Normal& normal, int count, double mean = 0.0) {
  std::vector<double> values;
  for (int i = 0; i < count; ++i) values.push_back(mean + normal());
  return values;
}

TEST_CASE("Wilson's interval is that of the closed form", "[unit]") {
  // scipy.stats.binomtest(9, 12).proportion_ci(method="wilson"), and 0 of 10
  CHECK(wilson_interval(0.75, 12).low == Approx(0.4676947).margin(1e-6));
  CHECK(wilson_interval(0.75, 12).high == Approx(0.9110583).margin(1e-6));
  CHECK(wilson_interval(0.0, 10).low == 0.0);
  CHECK(wilson_interval(0.0, 10).high == Approx(0.2775328).margin(1e-6));
  const ConfidenceInterval half = wilson_interval(0.5, 100);
  CHECK(half.low + half.high == Approx(1.0).margin(kExact));
  CHECK_THAT(test::failure([] { wilson_interval(1.5, 10); }), Contains("rate"));
  CHECK_THAT(test::failure([] { wilson_interval(0.5, 0); }), Contains("trials"));
}

TEST_CASE("Ties count half, and scores against themselves win half", "[unit]") {
  const std::vector<double> a{3, 1, 2, 2}, b{1, 2, 2, 2};
  const WinRate rate = win_rate(a, b);
  CHECK(rate.wins == 1);
  CHECK(rate.ties == 2);
  CHECK(rate.losses == 1);
  CHECK(rate.rate == 0.5);
  const WinRate itself = win_rate(a, a);
  CHECK(itself.ties == 4);
  CHECK(itself.rate == 0.5);
  CHECK(itself.effective_pairs == 4.0);
  CHECK(win_rate(a, b).rate + win_rate(b, a).rate == 1.0);
  CHECK_THAT(test::failure([&] { win_rate(a, std::vector<double>{1}); }), Contains("as many as"));
  CHECK_THAT(test::failure([&] { win_rate(a, b, 3); }), Contains("3 for each prompt"));
  CHECK_THAT(test::failure([] { win_rate({}, {}); }), Contains("got 0"));
}

TEST_CASE("Seeds of a prompt that agree count as one pair", "[unit]") {
  // 40 prompts of 4 seeds: the seeds of a prompt all win or all lose, so there are 40 pairs in fact.
  std::vector<double> scores, zeros(160, 0.0);
  for (int i = 0; i < 160; ++i) scores.push_back(i / 4 % 2 == 0 ? 1.0 : -1.0);
  const WinRate rate = win_rate(scores, zeros, 4);
  CHECK(rate.rate == 0.5);
  // The variances are n/(n-1) and N/(N-1) of the same 1/4, with n = 40 and N = 160.
  CHECK(rate.effective_pairs == Approx(160.0 / (4.0 * (40.0 / 39.0) / (160.0 / 159.0))).margin(1e-9));
  CHECK(win_rate(scores, zeros, 1).effective_pairs == 160.0);
}

TEST_CASE("Holm's correction is that of his example", "[unit]") {
  const std::vector<double> adjusted = holm(std::vector<double>{0.01, 0.04, 0.03, 0.005});
  CHECK(adjusted[0] == Approx(0.03));
  CHECK(adjusted[1] == Approx(0.06));
  CHECK(adjusted[2] == Approx(0.06));
  CHECK(adjusted[3] == Approx(0.02));
  CHECK(holm(std::vector<double>{0.9, 0.8}) == std::vector<double>{1.0, 1.0});
  CHECK(holm({}).empty());
}

TEST_CASE("Intervals cover a known mean, and p-values reject no effect, at the stated rate", "[unit]") {
  constexpr int kExperiments = 200, kPairs = 64;
  Normal normal(7);
  int covered = 0, rejected = 0;
  for (int i = 0; i < kExperiments; ++i) {
    const std::vector<double> differences = normals(normal, kPairs);
    const ConfidenceInterval interval = bootstrap_interval(differences);
    covered += interval.low <= 0.0 && 0.0 <= interval.high;
    rejected += randomization_p(differences) < 0.05;
  }
  // 95 % of 200 and 5 % of 200, within three standard deviations of a binomial (sqrt(200 .05 .95) = 3.1);
  // the percentile interval of 64 values is known to be a little narrow.
  CHECK(covered >= 178);
  CHECK(covered <= 199);
  CHECK(rejected >= 1);
  CHECK(rejected <= 19);
}

TEST_CASE("A planted effect is found with the power that theory gives", "[unit]") {
  // d = 0.25 and n = 128: power Phi(0.25 sqrt(128) - 1.96) = 0.807, three standard deviations 0.084.
  constexpr int kExperiments = 200, kPairs = 128;
  Normal normal(11);
  int found = 0;
  for (int i = 0; i < kExperiments; ++i) found += randomization_p(normals(normal, kPairs, 0.25)) < 0.05;
  CHECK(found > (0.807 - 0.084) * kExperiments);
  CHECK(found < (0.807 + 0.084) * kExperiments);
}

TEST_CASE("Only whole prompts are resampled", "[unit]") {
  // Every prompt has the seeds +1 and -1, so its mean, and that of any set of prompts, is zero.
  std::vector<double> values;
  for (int i = 0; i < 60; ++i) values.push_back(i % 2 == 0 ? 1.0 : -1.0);
  CHECK(bootstrap_interval(values, 2).low == 0.0);
  CHECK(bootstrap_interval(values, 2).high == 0.0);
  CHECK(randomization_p(values, 2) == 1.0);
  CHECK(bootstrap_interval(values, 1).high > 0.1);
  CHECK(randomization_p(std::vector<double>(32, 1.0)) == Approx(1e-4).margin(1e-9));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
