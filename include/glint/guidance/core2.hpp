// CoRe2: a small network that imitates classifier-free guidance replaces the unconditional branch, or serves
// as the weak prediction to guide away from.
#pragma once

#include <glint/guidance/difference_rule.hpp>

#include <functional>
#include <utility>

namespace glint {

/// The weak network R: maps the conditional prediction to a guided one, [B,...] to [B,...].
using WeakNetwork = std::function<at::Tensor(const at::Tensor& cond_output, const GuidanceStep& step)>;

struct Core2Options {
  double gap_scale = 1.5;
  int slow_steps = 0;
  double scale = 5.0;

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale, kScaleField);
    visit("gap_scale", o.gap_scale,
          Field{.help = "g in weak + g (strong - weak) on slow steps", .minimum = -100, .maximum = 1000});
    visit("slow_steps", o.slow_steps,
          Field{.help = "initial steps that also run the unconditional branch, for CFG at scale; released "
                        "code: 28, or all",
                .minimum = 0,
                .maximum = 100000,
                .unit = "steps"});
  }
};

/// Predicts R(c), the weak network's output, on fast steps and R(c) + g (CFG_w - R(c)) on slow ones.
/// Cost:    2 rows per sample on slow steps, 1 on fast ones, plus one evaluation of R.
/// Source:  Shao et al., "CoRe^2: Collect, Reflect and Refine to Generate Better and Faster",
///          arXiv:2503.09662.
class Core2 final : public GuidanceRule {
 public:
  using Options = Core2Options;
  static constexpr EntryInfo info{
      .kind = "rule",
      .name = "core2",
      .summary = "a small network replaces the unconditional branch, or is the weak side of guidance",
      .cost = "N + slow_steps rows, plus N evaluations of the weak network",
      .source = "Shao et al. 2025, arXiv:2503.09662",
      .goal = Goal::Speed};

  explicit Core2(WeakNetwork network, Core2Options options = {})
      : network_(std::move(network)), options_(options) {
    check_ranges(info.name, options_);
    GLINT_CHECK(network_, InvalidArgument, "core2: expected a weak network, got none");
  }

  BranchSet branches(const StepPosition& position) const override {
    return {.cond = true, .uncond = position.step < options_.slow_steps};
  }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep& step, GuidanceState*) const override {
    const at::Tensor weak = network_(o.cond, step);
    if (!o.uncond.defined()) return weak;
    return at::lerp(weak, at::lerp(o.uncond, o.cond, options_.scale), options_.gap_scale);
  }

 private:
  WeakNetwork network_;
  Core2Options options_;
};

/// Z-CoRe2's predictor for inversion: c + g (R(c) - c), one row.
class Core2Inverse final : public GuidanceRule {
 public:
  Core2Inverse(WeakNetwork network, double gap_scale) : network_(std::move(network)), gap_scale_(gap_scale) {}

  BranchSet branches(const StepPosition&) const override { return {.cond = true}; }
  at::Tensor combine(const BranchOutputs& o, const GuidanceStep& step, GuidanceState*) const override {
    return at::lerp(o.cond, network_(o.cond, step), gap_scale_);
  }

 private:
  WeakNetwork network_;
  double gap_scale_;
};

}  // namespace glint
