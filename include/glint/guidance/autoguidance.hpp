// Autoguidance: guidance away from a weaker model's prediction.
#pragma once

#include <glint/guidance/difference_rule.hpp>

#include <utility>

namespace glint {

struct AutoGuidanceOptions {
  double scale = 2.0;
  double cfg_scale = 1.0;

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale, kScaleField);
    visit("cfg_scale", o.cfg_scale,
          Field{.help = "classifier-free guidance scale of the strong prediction; 1 = off",
                .minimum = -100,
                .maximum = 1000});
  }
};

/// Predicts k + w (p - k), where k is the weaker model's conditional prediction and p the strong model's,
/// optionally with CFG.
/// Cost:    2 rows per sample and step, one of them through the weak model; 3 with CFG.
/// Source:  Karras et al., "Guiding a Diffusion Model with a Bad Version of Itself", NeurIPS 2024,
///          arXiv:2406.02507.
class AutoGuidance final : public GuidanceRule {
 public:
  using Options = AutoGuidanceOptions;
  static constexpr EntryInfo info{.kind = "rule",
                                  .name = "autoguidance",
                                  .summary = "guidance away from a weaker model's prediction",
                                  .cost = "2 N rows, half of them through the weak model; 3 N with CFG",
                                  .source = "Karras et al. 2024, NeurIPS, arXiv:2406.02507, Eq. 3"};

  /// `weak` specifies the weaker model.   Errors: InvalidArgument for options out of range.
  explicit AutoGuidance(WeakBranch weak, AutoGuidanceOptions options = {})
      : weak_(std::move(weak)), options_(options) {
    check_ranges(info.name, options_);
  }

  BranchSet branches(const StepPosition&) const override {
    return {.cond = options_.scale != 0.0 && options_.cfg_scale != 0.0,
            .uncond = options_.scale != 0.0 && options_.cfg_scale != 1.0,
            .weak = options_.scale != 1.0};
  }
  const WeakBranch* weak_branch() const override { return &weak_; }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep&, GuidanceState*) const override {
    at::Tensor strong = o.cond.defined() ? o.cond : o.uncond;
    if (o.cond.defined() && o.uncond.defined()) strong = at::lerp(o.uncond, o.cond, options_.cfg_scale);
    if (!o.weak.defined()) return strong;
    return strong.defined() ? at::lerp(o.weak, strong, options_.scale) : o.weak;
  }

 private:
  WeakBranch weak_;
  AutoGuidanceOptions options_;
};

}  // namespace glint
