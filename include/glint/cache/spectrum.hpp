// Spectrum: forecasts the x0 estimate with Chebyshev polynomials fitted over the steps where the network
// runs.
#pragma once

#include <glint/cache/whole_step.hpp>
#include <glint/core/step_window.hpp>

#include <algorithm>
#include <cmath>
#include <deque>

namespace glint {

struct SpectrumOptions {
  double weight = 0.4;
  int degree = 3;
  double ridge = 1.0;
  double interval = 2.0;
  double growth = 0.5;
  int warmup = 4;
  double stop = 0.9;

  static void fields(auto& visit, auto& o) {
    visit("weight", o.weight,
          Field{.help =
                    "share of the polynomial; the rest is a line through the last two values, half as steep",
                .minimum = 0,
                .maximum = 1});
    visit("degree", o.degree, Field{.help = "degree of the polynomial", .minimum = 0, .maximum = 16});
    visit("ridge", o.ridge, Field{.help = "damps the fit; 0 = least squares", .minimum = 0, .maximum = 1e9});
    visit("interval", o.interval,
          Field{.help = "the network runs every floor(interval) steps; 1 with growth=0 = off",
                .minimum = 1,
                .maximum = 100000,
                .unit = "steps"});
    visit("growth", o.growth,
          Field{.help = "added to the interval whenever the network runs after the warm-up",
                .minimum = 0,
                .maximum = 1000,
                .unit = "steps"});
    visit("warmup", o.warmup,
          Field{.help = "first steps that always run", .minimum = 2, .maximum = 100000, .unit = "steps"});
    visit("stop", o.stop,
          Field{.help = "from here on the network runs",
                .minimum = 0,
                .maximum = 1,
                .unit = "fraction of steps"});
  }
};

namespace detail {

/// Returns the weights b with b.h = the value at `at` of the Chebyshev polynomial of `degree` fitted to h at
/// `places` by ridge regression: T(at) (X^T X + ridge I)^-1 X^T. Without a ridge the degree is at most one
/// less than the places.
inline std::vector<double> chebyshev_weights(const std::vector<double>& places, double at, int degree,
                                             double ridge) {
  const size_t k = places.size();
  const size_t n =
      ridge > 0.0 ? static_cast<size_t>(degree) + 1 : std::min(static_cast<size_t>(degree) + 1, k);
  const auto row = [n](double t) {
    std::vector<double> values(n, 1.0);
    if (n > 1) values[1] = t;
    for (size_t j = 2; j < n; ++j) values[j] = 2.0 * t * values[j - 1] - values[j - 2];
    return values;
  };
  std::vector<std::vector<double>> design;
  for (double place : places) design.push_back(row(place));
  // Solve (X^T X + ridge I) z = T(at) by elimination with row exchanges, then b = X z.
  std::vector<std::vector<double>> a(n, std::vector<double>(n + 1, 0.0));
  const std::vector<double> target = row(at);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j)
      for (size_t s = 0; s < k; ++s) a[i][j] += design[s][i] * design[s][j];
    a[i][i] += ridge;
    a[i][n] = target[i];
  }
  for (size_t c = 0; c < n; ++c) {
    size_t pivot = c;
    for (size_t r = c + 1; r < n; ++r)
      if (std::abs(a[r][c]) > std::abs(a[pivot][c])) pivot = r;
    std::swap(a[c], a[pivot]);
    for (size_t r = 0; r < n; ++r) {
      if (r == c) continue;
      const double factor = a[r][c] / a[c][c];
      for (size_t j = c; j <= n; ++j) a[r][j] -= factor * a[c][j];
    }
  }
  std::vector<double> weights(k, 0.0);
  for (size_t s = 0; s < k; ++s)
    for (size_t j = 0; j < n; ++j) weights[s] += design[s][j] * a[j][n] / a[j][j];
  return weights;
}

}  // namespace detail

/// At a spared step the x0 estimate is weight times the fitted polynomial plus (1 - weight) times h + (h -
/// h_1) / 2, h and h_1 the last two values; polynomials run in 2 i / N - 1 over the last max(degree + 1, 6)
/// steps where the network ran. After the warm-up, steps are spared until their number in a row plus one is a
/// multiple of the interval, which grows whenever the network runs.
/// Cost:    rows of the steps that run, known from the options.
/// Source:  Spectrum, as in stable-diffusion.cpp's released code, with N for its constant 50.
class Spectrum final : public StepCache {
 public:
  using Options = SpectrumOptions;
  static constexpr EntryInfo info{.kind = "cache",
                                  .name = "spectrum",
                                  .summary = "forecasts x0 with polynomials between the steps that run",
                                  .cost = "the solver's predictions at ever rarer steps",
                                  .source = "Spectrum, stable-diffusion.cpp, 2026",
                                  .goal = Goal::Speed};

  explicit Spectrum(SpectrumOptions options = {}) : options_(options) { check_ranges(info.name, options_); }

  std::string_view name() const override { return info.name; }
  std::unique_ptr<CacheState> begin() const override { return std::make_unique<State>(options_); }

 private:
  struct Memory {
    std::deque<at::Tensor> denoised;  // latest last
    std::deque<double> places;
  };

  class State final : public WholeStepState<Memory> {
   public:
    explicit State(const SpectrumOptions& options) : options_(options), interval_(options.interval) {}

   private:
    bool network_runs(const CachedStep& step, const Memory&) override {
      const StepPosition& p = step.position;
      const bool warm = p.step >= options_.warmup;
      const bool spares = warm && p.step < StepWindow{.stop = options_.stop}.end(p.steps) &&
                          (spared_ + 1) % static_cast<int64_t>(interval_) != 0;
      if (spares) {
        ++spared_;
        return false;
      }
      spared_ = 0;
      if (warm) interval_ += options_.growth;
      return true;
    }
    bool can_reuse(const Memory& memory) const override { return memory.denoised.size() >= 2; }
    void remember(Memory& memory, const CachedStep& step, const at::Tensor& y) override {
      memory.denoised.push_back(denoised_from(step.parameterization, step.level)(step.x, y));
      memory.places.push_back(place(step));
      if (memory.places.size() <= static_cast<size_t>(std::max(options_.degree + 1, 6))) return;
      memory.denoised.pop_front();
      memory.places.pop_front();
    }
    at::Tensor reuse(const Memory& memory, const CachedStep& step) const override {
      std::vector<double> weights = detail::chebyshev_weights({memory.places.begin(), memory.places.end()},
                                                              place(step), options_.degree, options_.ridge);
      for (double& weight : weights) weight *= options_.weight;
      weights.back() += 1.5 * (1.0 - options_.weight);
      weights[weights.size() - 2] -= 0.5 * (1.0 - options_.weight);
      at::Tensor x0 = memory.denoised.front().mul(weights.front());
      for (size_t k = 1; k < weights.size(); ++k) x0.add_(memory.denoised[k], weights[k]);
      // The raw output that stands for x0 = of_x x + of_output output.
      const Affine made = denoised_from(step.parameterization, step.level);
      return made.of_x == 0.0 ? x0.div_(made.of_output) : x0.sub_(step.x, made.of_x).div_(made.of_output);
    }
    static double place(const CachedStep& step) {
      return 2.0 * step.position.step / step.position.steps - 1.0;
    }

    const SpectrumOptions options_;
    double interval_;
    int64_t spared_ = 0;
  };

  SpectrumOptions options_;
};

}  // namespace glint
