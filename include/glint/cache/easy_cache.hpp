// EasyCache: reuses the last change that the network made, while its output is predicted to have changed
// little.
#pragma once

#include <glint/cache/whole_step.hpp>
#include <glint/core/step_window.hpp>

namespace glint {

struct EasyCacheOptions {
  double threshold = 0.05;
  StepWindow window = {.start = 0.2};

  static void fields(auto& visit, auto& o) {
    visit("threshold", o.threshold,
          Field{.help = "relative change of the output to accept before the network runs again; 0 = off",
                .minimum = 0,
                .maximum = 100});
    StepWindow::fields(visit, o.window, "first step that may be spared",
                       "from here on the network runs; the last step always does");
  }
};

/// With x, y the network's input and output, x_1 its input at the step before, and R = y - x and K = |change
/// of y| / |change of x| (mean absolute values) from the last steps where it ran:
///   E <- E + K |x - x_1| / |y|;  spares the step and returns x + R while E < threshold, else runs, E <- 0.
/// Cost:    rows of the steps that run; at least 2, and the last step.
/// Source:  Zhou et al., "Less is Enough: Training-Free Video Diffusion Acceleration via Runtime-Adaptive
///          Caching", arXiv:2507.02860, and its released code.
class EasyCache final : public StepCache {
 public:
  using Options = EasyCacheOptions;
  static constexpr EntryInfo info{
      .kind = "cache",
      .name = "easy-cache",
      .summary = "spares steps while the output is predicted to change little",
      .cost = "the solver's predictions less what it spares, which depends on the picture",
      .source = "Zhou et al. 2025, arXiv:2507.02860",
      .goal = Goal::Speed};

  explicit EasyCache(EasyCacheOptions options = {}) : options_(options) { check_ranges(info.name, options_); }

  std::string_view name() const override { return info.name; }
  std::unique_ptr<CacheState> begin() const override { return std::make_unique<State>(options_); }

 private:
  struct Memory {
    at::Tensor x, y, residual;  // where the network last ran
  };

  class State final : public WholeStepState<Memory> {
   public:
    explicit State(const EasyCacheOptions& options) : options_(options) {}

   private:
    static double size(const at::Tensor& t) { return t.abs().mean().item<double>(); }

    bool network_runs(const CachedStep& step, const Memory& anchor) override {
      const StepPosition& p = step.position;
      const at::Tensor before = std::exchange(previous_, step.x);
      const bool known = gain_ && before.defined() && anchor.y.defined();
      if (known) error_ += *gain_ * size(step.x.sub(before)) / size(anchor.y);
      const bool may_spare = known && options_.window.contains(p.step, p.steps) && p.step < p.steps - 1;
      if (may_spare && error_ < options_.threshold) return false;
      error_ = 0.0;
      decides_ = true;
      return true;
    }
    bool can_reuse(const Memory& memory) const override { return memory.residual.defined(); }
    void remember(Memory& memory, const CachedStep& step, const at::Tensor& y) override {
      // The first branch to be completed is the one that decides.
      if (std::exchange(decides_, false) && memory.y.defined()) {
        const double moved = size(step.x.sub(memory.x));
        gain_ = moved > 0.0 ? std::optional(size(y.sub(memory.y)) / moved) : std::nullopt;
      }
      memory = {.x = step.x, .y = y, .residual = y.sub(step.x)};
    }
    at::Tensor reuse(const Memory& memory, const CachedStep& step) const override {
      return step.x.add(memory.residual);
    }

    const EasyCacheOptions options_;
    at::Tensor previous_;  // input of the step before, spared or not
    std::optional<double> gain_;
    double error_ = 0.0;
    bool decides_ = false;
  };

  EasyCacheOptions options_;
};

}  // namespace glint
