// CFG-cache: between the steps that evaluate it, the unconditional branch is the conditional one plus their
// last difference, low and high frequencies amplified apart.
#pragma once

#include <glint/cache/unconditional.hpp>
#include <glint/export.hpp>

namespace glint {

struct CfgCacheOptions {
  int interval = 5;
  double time_min = 0.0, time_max = 641.0;
  double low_gain = 1.1, high_gain = 1.1;

  static void fields(auto& visit, auto& o) {
    visit("interval", o.interval,
          Field{.help = "the unconditional branch runs every so many steps; 1 = off",
                .minimum = 1,
                .maximum = 100000,
                .unit = "steps"});
    visit("time_min", o.time_min,
          Field{.help = "spare it from this model time on",
                .minimum = -1e9,
                .maximum = 1e9,
                .unit = "timesteps"});
    visit(
        "time_max", o.time_max,
        Field{
            .help = "spare it below this model time", .minimum = -1e9, .maximum = 1e9, .unit = "timesteps"});
    visit(
        "low_gain", o.low_gain,
        Field{
            .help =
                "growth of the low frequencies' difference per spared step with time in (99, 901); 1 = none",
            .minimum = 0,
            .maximum = 100});
    visit("high_gain", o.high_gain,
          Field{.help = "that of the high frequencies, with time below 301", .minimum = 0, .maximum = 100});
  }
};

namespace detail {

/// Returns the low frequencies of x [1,C,...,H,W]: those within a fifth of the smaller side of the centre of
/// its 2-D spectrum.
GLINT_API at::Tensor low_frequencies(const at::Tensor& x);

}  // namespace detail

/// With dL and dH the low and high frequencies of u - c from the last step that ran both:
///   u = c + dL + dH,  dL and dH multiplied by their gains at every spared step.
/// Steps are spared where i mod interval is not 0 and the model time is in range.
/// Cost:    1 row less per spared step.
/// Source:  Lv et al., "FasterCache: Training-Free Video Diffusion Model Acceleration with High Quality",
///          ICLR 2025, arXiv:2410.19355, Sec. 3.3, with the values of its released code.
class CfgCache final : public StepCache {
 public:
  using Options = CfgCacheOptions;
  static constexpr EntryInfo info{
      .kind = "cache",
      .name = "cfg-cache",
      .summary = "estimates the unconditional branch from its last difference to the conditional one",
      .cost = "1 row less at all but every `interval`-th step of the range",
      .source = "Lv et al. 2025, ICLR, arXiv:2410.19355, 3.3",
      .goal = Goal::Speed};

  explicit CfgCache(CfgCacheOptions options = {}) : options_(options) {
    check_ranges(info.name, options_);
    GLINT_CHECK(options_.time_min < options_.time_max, InvalidArgument,
                "cfg-cache.time_min: expected less than time_max, {}, got {}", options_.time_max,
                options_.time_min);
  }

  std::string_view name() const override { return info.name; }
  std::unique_ptr<CacheState> begin() const override { return std::make_unique<State>(options_); }
  void validate(const NoiseSchedule& schedule, const Predictor& predictor) const override {
    check_spares_unconditional(info.name, schedule, predictor);
  }

 private:
  struct Memory {
    at::Tensor low, high;
  };

  class State final : public UnconditionalState<Memory> {
   public:
    explicit State(const CfgCacheOptions& options) : options_(options) {}

   private:
    bool network_runs(const CachedStep& step, const Memory& memory) override {
      const double time = step.level.model_time;
      return !memory.low.defined() || step.position.step % options_.interval == 0 ||
             time < options_.time_min || time >= options_.time_max;
    }
    void remember(Memory& memory, const CachedStep&, const at::Tensor& c, const at::Tensor& u) override {
      if (options_.interval == 1) return;
      const at::Tensor difference = u.sub(c);
      memory.low = detail::low_frequencies(difference);
      memory.high = difference.sub(memory.low);
    }
    at::Tensor estimate(Memory& memory, const CachedStep& step, const at::Tensor& cond) override {
      const double time = step.level.model_time;
      if (time > 99.0 && time < 901.0) memory.low = memory.low.mul(options_.low_gain);
      if (time < 301.0) memory.high = memory.high.mul(options_.high_gain);
      return cond.add(memory.low).add_(memory.high);
    }

    const CfgCacheOptions options_;
  };

  CfgCacheOptions options_;
};

}  // namespace glint
