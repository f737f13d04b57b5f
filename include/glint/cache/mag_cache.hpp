// MagCache: reuses the last change that the network made, for as long as calibrated magnitudes allow.
#pragma once

#include <glint/cache/whole_step.hpp>
#include <glint/core/number_list.hpp>
#include <glint/sampling/predictor.hpp>

#include <algorithm>
#include <cmath>

namespace glint {

struct MagCacheOptions {
  double threshold = 0.12;
  int most = 2;
  double retention = 0.2;
  std::string ratios = "";

  static void fields(auto& visit, auto& o) {
    visit(
        "threshold", o.threshold,
        Field{.help = "accumulated error of the magnitude to accept; 0 = off", .minimum = 0, .maximum = 100});
    visit("most", o.most,
          Field{.help = "most steps spared in a row", .minimum = 0, .maximum = 100000, .unit = "steps"});
    visit("retention", o.retention,
          Field{.help = "share of the steps that always run, at the start", .minimum = 0, .maximum = 1});
    visit("ratios", o.ratios,
          Field{.help = "the model's magnitude ratios, one per step, as in 1+1.02x3+0.97; a run with "
                        "threshold=0 reports them as 'ratio'"});
  }
};

/// With r = y - x the change the network makes and rho_i the ratio of its magnitude to the step before's,
/// calibrated for the model, from step floor(retention N + 1/2) on:
///   A <- A rho_i, k <- k + 1, E <- E + |1 - A|;  spares the step and returns x + r if E < threshold and
///   k <= most, else runs, A <- 1, k <- 0, E <- 0.
/// Ratios for another number of steps are taken at the nearest place. They hold for the output of the
/// network; tables published for hidden states do not apply. With threshold 0 every step runs and reports its
/// ratio: the mean over positions of |r_i| / |r_(i-1)|, norms over channels.
/// Cost:    rows of the steps that run, which depend on the ratios alone.
/// Source:  Ma et al., "MagCache: Fast Video Generation with Magnitude-Aware Cache",
///          arXiv:2506.09045, and its released code.
class MagCache final : public StepCache {
 public:
  using Options = MagCacheOptions;
  static constexpr EntryInfo info{.kind = "cache",
                                  .name = "mag-cache",
                                  .summary = "spares steps while calibrated magnitudes allow",
                                  .cost = "the solver's predictions less what it spares, known from `ratios`",
                                  .source = "Ma et al. 2025, arXiv:2506.09045",
                                  .goal = Goal::Speed};

  explicit MagCache(const MagCacheOptions& options = {}) : options_(options) {
    check_ranges(info.name, options_);
    if (!options_.ratios.empty()) ratios_ = parse_numbers("mag-cache.ratios", options_.ratios);
    for (double ratio : ratios_)
      GLINT_CHECK(ratio > 0.0, InvalidArgument, "mag-cache.ratios: expected positive values, got {}", ratio);
    GLINT_CHECK(options_.threshold == 0.0 || !ratios_.empty(), InvalidArgument,
                "mag-cache.ratios: expected the model's ratios; a run with threshold=0 reports them");
  }

  std::string_view name() const override { return info.name; }
  std::unique_ptr<CacheState> begin() const override { return std::make_unique<State>(*this); }

 private:
  struct Memory {
    at::Tensor residual;
  };

  class State final : public WholeStepState<Memory> {
   public:
    explicit State(const MagCache& cache) : cache_(cache) {}

    std::map<std::string, std::vector<double>> figures() const override {
      if (measured_.empty()) return {};
      return {{"ratio", measured_}};
    }

   private:
    bool network_runs(const CachedStep& step, const Memory&) override {
      const StepPosition& p = step.position;
      decides_ = true;
      const MagCacheOptions& o = cache_.options_;
      if (o.threshold == 0.0 || p.step < static_cast<int>(std::floor(o.retention * p.steps + 0.5)))
        return true;
      magnitude_ *= cache_.ratio_at(p);
      ++spared_;
      error_ += std::abs(1.0 - magnitude_);
      if (error_ < o.threshold && spared_ <= o.most) return false;
      magnitude_ = 1.0;
      spared_ = 0;
      error_ = 0.0;
      return true;
    }
    bool can_reuse(const Memory& memory) const override { return memory.residual.defined(); }
    void remember(Memory& memory, const CachedStep& step, const at::Tensor& y) override {
      const at::Tensor residual = y.sub(step.x);
      if (std::exchange(decides_, false) && cache_.options_.threshold == 0.0)
        measured_.push_back(memory.residual.defined() ? ratio(residual, memory.residual) : 1.0);
      memory.residual = residual;
    }
    at::Tensor reuse(const Memory& memory, const CachedStep& step) const override {
      return step.x.add(memory.residual);
    }

    static double ratio(const at::Tensor& now, const at::Tensor& before) {
      return now.square().sum(1).div(before.square().sum(1)).sqrt().mean().item<double>();
    }

    const MagCache& cache_;
    double magnitude_ = 1.0, error_ = 0.0;
    int spared_ = 0;
    bool decides_ = false;
    std::vector<double> measured_;
  };

  double ratio_at(const StepPosition& p) const {
    const auto last = static_cast<double>(ratios_.size() - 1);
    const double place = p.steps > 1 ? last * p.step / (p.steps - 1) : 0.0;
    return ratios_[static_cast<size_t>(std::lround(place))];
  }

  MagCacheOptions options_;
  std::vector<double> ratios_;
};

}  // namespace glint
