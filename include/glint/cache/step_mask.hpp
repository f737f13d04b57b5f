// A step mask: the network runs at the steps a list names, such as one computed offline by TeaCache's rule.
#pragma once

#include <glint/cache/whole_step.hpp>
#include <glint/sampling/predictor.hpp>

#include <algorithm>
#include <string>

namespace glint {

/// What a spared step repeats.
enum class MaskReuse {
  Residual,  ///< x plus the network's last change, output - x
  Output     ///< the network's last output
};
template <>
struct EnumNames<MaskReuse> {
  static constexpr std::array<std::string_view, 2> values{"residual", "output"};
};

struct StepMaskOptions {
  std::string mask = "";
  MaskReuse reuse = MaskReuse::Residual;

  static void fields(auto& visit, auto& o) {
    visit("mask", o.mask,
          Field{.help = "one digit per step, 1 = the network runs, 0 = it is spared, as in 1110101101"});
    visit("reuse", o.reuse,
          Field{.help = "what a spared step repeats: residual, the change output - x, or output"});
  }
};

/// For a network whose time embedding alone decides, as in Wan, TeaCache's decisions are the same for every
/// picture: a mask.
/// Cost:    rows of the steps that run.
/// Source:  Liu et al., "Timestep Embedding Tells: It's Time to Cache for Video Diffusion Model", CVPR 2025,
///          arXiv:2411.19108, Sec. 3, with its decisions made offline.
class StepMask final : public StepCache {
 public:
  using Options = StepMaskOptions;
  static constexpr EntryInfo info{.kind = "cache",
                                  .name = "step-mask",
                                  .summary = "spares the steps that a mask names, e.g. TeaCache's",
                                  .cost = "the solver's predictions at the steps marked 1",
                                  .source = "Liu et al. 2025, CVPR, arXiv:2411.19108",
                                  .goal = Goal::Speed};

  explicit StepMask(const StepMaskOptions& options = {}) : options_(options) {
    const std::string& mask = options_.mask;
    GLINT_CHECK(!mask.empty() && mask.find_first_not_of("01") == std::string::npos, InvalidArgument,
                "step-mask.mask: expected one 1 or 0 per step, as in 1110101101, got '{}'", mask);
    GLINT_CHECK(mask.front() == '1', InvalidArgument,
                "step-mask.mask: expected 1 at the first step, which has nothing to repeat, got '{}'", mask);
  }

  std::string_view name() const override { return info.name; }
  std::unique_ptr<CacheState> begin() const override { return std::make_unique<State>(options_); }
  void validate(const NoiseSchedule& schedule, const Predictor&) const override {
    GLINT_CHECK(options_.mask.size() == static_cast<size_t>(schedule.steps()), InvalidArgument,
                "step-mask.mask: expected one digit per step ({}), got {}", schedule.steps(),
                options_.mask.size());
  }

 private:
  struct Memory {
    at::Tensor value;
  };

  class State final : public WholeStepState<Memory> {
   public:
    explicit State(const StepMaskOptions& options) : options_(options) {}

   private:
    bool network_runs(const CachedStep& step, const Memory&) override {
      return options_.mask[static_cast<size_t>(step.position.step)] == '1';
    }
    bool can_reuse(const Memory& memory) const override { return memory.value.defined(); }
    void remember(Memory& memory, const CachedStep& step, const at::Tensor& y) override {
      memory.value = options_.reuse == MaskReuse::Residual ? y.sub(step.x) : y;
    }
    at::Tensor reuse(const Memory& memory, const CachedStep& step) const override {
      return options_.reuse == MaskReuse::Residual ? step.x.add(memory.value) : memory.value;
    }

    const StepMaskOptions& options_;
  };

  StepMaskOptions options_;
};

}  // namespace glint
