// Adaptive guidance: drops the unconditional branch for good once it agrees with the conditional one.
#pragma once

#include <glint/cache/unconditional.hpp>
#include <glint/guidance/per_sample.hpp>

namespace glint {

struct AdaptiveGuidanceOptions {
  double threshold = 0.991;

  static void fields(auto& visit, auto& o) {
    visit("threshold", o.threshold,
          Field{.help = "cosine of the two branches above which the unconditional one is dropped; 1 = off",
                .minimum = -1,
                .maximum = 1});
  }
};

/// From the first step on after <c, u> > threshold |c| |u|, u is taken to equal c, so that any rule by
/// difference returns c.
/// Cost:    1 row less per step after that.
/// Source:  Castillo et al., "Adaptive Guidance: Training-free Acceleration of Conditional Diffusion Models",
///          arXiv:2312.12487, Sec. 5, on the raw outputs.
class AdaptiveGuidance final : public StepCache {
 public:
  using Options = AdaptiveGuidanceOptions;
  static constexpr EntryInfo info{
      .kind = "cache",
      .name = "adaptive-guidance",
      .summary = "drops the unconditional branch once it agrees with the conditional one",
      .cost = "1 row less per step once dropped, which depends on the picture",
      .source = "Castillo et al. 2023, arXiv:2312.12487",
      .goal = Goal::Speed};

  explicit AdaptiveGuidance(AdaptiveGuidanceOptions options = {}) : options_(options) {
    check_ranges(info.name, options_);
  }

  std::string_view name() const override { return info.name; }
  std::unique_ptr<CacheState> begin() const override { return std::make_unique<State>(options_.threshold); }
  void validate(const NoiseSchedule& schedule, const Predictor& predictor) const override {
    check_spares_unconditional(info.name, schedule, predictor);
  }

 private:
  struct Memory {
    bool dropped = false;
  };

  class State final : public UnconditionalState<Memory> {
   public:
    explicit State(double threshold) : threshold_(threshold) {}

   private:
    bool network_runs(const CachedStep&, const Memory& memory) override { return !memory.dropped; }
    void remember(Memory& memory, const CachedStep&, const at::Tensor& c, const at::Tensor& u) override {
      if (threshold_ >= 1.0) return;  // off, whatever rounding makes of two equal branches
      const double both = per_sample::dot(c, u).item<double>();
      const double lengths = per_sample::norm(c).mul(per_sample::norm(u)).item<double>();
      memory.dropped = lengths > 0.0 && both > threshold_ * lengths;
    }
    at::Tensor estimate(Memory&, const CachedStep&, const at::Tensor& cond) override { return cond; }

    const double threshold_;
  };

  AdaptiveGuidanceOptions options_;
};

}  // namespace glint
