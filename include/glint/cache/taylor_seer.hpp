// TaylorSeer on the network's output: extrapolates it with finite differences between the steps where it
// runs.
#pragma once

#include <glint/cache/whole_step.hpp>
#include <glint/core/step_window.hpp>

#include <cmath>

namespace glint {

/// What the differences are taken in.
enum class CacheClock { Steps, LogSnr };
template <>
struct EnumNames<CacheClock> {
  static constexpr std::array<std::string_view, 2> values{"steps", "log-snr"};
};

struct TaylorSeerOptions {
  int interval = 5;
  int warmup = 3;
  int order = 1;
  double stop = 1.0;
  CacheClock clock = CacheClock::Steps;

  static void fields(auto& visit, auto& o) {
    visit("interval", o.interval,
          Field{.help = "the network runs every so many steps; 1 = off",
                .minimum = 1,
                .maximum = 100000,
                .unit = "steps"});
    visit("warmup", o.warmup,
          Field{.help = "first steps that always run", .minimum = 1, .maximum = 100000, .unit = "steps"});
    visit("order", o.order,
          Field{.help = "order of the extrapolation; 0 repeats the last output", .minimum = 0, .maximum = 8});
    visit("stop", o.stop,
          Field{.help = "from here on the network runs",
                .minimum = 0,
                .maximum = 1,
                .unit = "fraction of steps"});
    visit("clock", o.clock,
          Field{.help = "count in steps, as published, or in log-SNR, which suits uneven grids"});
  }
};

/// At a step i where the network runs, j being the last one before: f_0 = y, f_(n+1) = (f_n - f_n at j) /
/// (i - j). A distance d after it, the output is taken to be the sum over n of f_n d^n / n!. The network runs
/// where i < warmup or (i - warmup - 1) mod interval = 0, the phase of the released code.
/// Cost:    rows of those steps.
/// Source:  Liu et al., "From Reusing to Forecasting: Accelerating Diffusion Models with TaylorSeers",
///          ICCV 2025, arXiv:2503.06923, Eq. 3, on the output instead of each module's.
class TaylorSeer final : public StepCache {
 public:
  using Options = TaylorSeerOptions;
  static constexpr EntryInfo info{
      .kind = "cache",
      .name = "taylor-seer",
      .summary = "extrapolates the output between the steps that run",
      .cost = "the solver's predictions at the first `warmup` and every `interval`-th step",
      .source = "Liu et al. 2025, ICCV, arXiv:2503.06923",
      .goal = Goal::Speed};

  explicit TaylorSeer(TaylorSeerOptions options = {}) : options_(options) {
    check_ranges(info.name, options_);
  }

  std::string_view name() const override { return info.name; }
  std::unique_ptr<CacheState> begin() const override { return std::make_unique<State>(options_); }

 private:
  struct Memory {
    std::vector<at::Tensor> factors;
    double place = 0.0;
  };

  class State final : public WholeStepState<Memory> {
   public:
    explicit State(const TaylorSeerOptions& options) : options_(options) {}

   private:
    bool network_runs(const CachedStep& step, const Memory&) override {
      const StepPosition& p = step.position;
      return p.step < options_.warmup || (p.step - options_.warmup - 1) % options_.interval == 0 ||
             p.step >= StepWindow{.stop = options_.stop}.end(p.steps);
    }
    bool can_reuse(const Memory& memory) const override { return !memory.factors.empty(); }
    void remember(Memory& memory, const CachedStep& step, const at::Tensor& y) override {
      const double distance = place(step) - memory.place;
      std::vector<at::Tensor> factors{y};
      // A step without length, or one that began at pure noise, has no difference.
      if (distance != 0.0 && std::isfinite(distance))
        for (size_t n = 0; n < memory.factors.size() && factors.size() <= static_cast<size_t>(options_.order);
             ++n)
          factors.push_back(factors[n].sub(memory.factors[n]).div_(distance));
      memory = {.factors = std::move(factors), .place = place(step)};
    }
    at::Tensor reuse(const Memory& memory, const CachedStep& step) const override {
      const double distance = place(step) - memory.place;
      at::Tensor y = memory.factors.front().clone();
      double weight = 1.0;
      for (size_t n = 1; n < memory.factors.size(); ++n) {
        weight *= distance / static_cast<double>(n);
        y.add_(memory.factors[n], weight);
      }
      return y;
    }
    double place(const CachedStep& step) const {
      return options_.clock == CacheClock::Steps ? step.position.step : step.level.lambda();
    }

    const TaylorSeerOptions options_;
  };

  TaylorSeerOptions options_;
};

}  // namespace glint
