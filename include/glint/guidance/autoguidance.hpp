// Rules with a weak branch: another model of the bundle, or another prompt.
#pragma once

#include <glint/catalog/build_context.hpp>
#include <glint/guidance/difference_rule.hpp>

#include <string>
#include <utility>

namespace glint {

struct AutoGuidanceOptions {
  std::string weak_model = "weak_denoiser";
  double scale = 2.0;
  double cfg_scale = 1.0;

  static void fields(auto& visit, auto& o) {
    visit("weak_model", o.weak_model, Field{.help = "denoiser component of the bundle to steer away from"});
    visit("scale", o.scale, kScaleField);
    visit("cfg_scale", o.cfg_scale,
          Field{.help = "classifier-free guidance inside the strong prediction; 1 is off",
                .minimum = -100,
                .maximum = 1000});
  }
};

/// Returns k + w (p - k), k the conditional prediction of a weaker model, p the strong one's (with CFG if asked for).
/// Cost:    2 rows per sample and step, one of them through the weak model; 3 with CFG.
/// Errors:  NotFound if the bundle has no such denoiser; InvalidArgument if it is of other latents.
/// Source:  Karras et al., "Guiding a Diffusion Model with a Bad Version of Itself", NeurIPS 2024, arXiv:2406.02507.
class AutoGuidance final : public GuidanceRule {
 public:
  using Options = AutoGuidanceOptions;
  static constexpr EntryInfo info{.kind = "rule",
                                  .name = "autoguidance",
                                  .summary = "guidance away from a weaker model's prediction",
                                  .cost = "2 N rows, half of them through the weak model; 3 N with cfg_scale",
                                  .source = "Karras et al. 2024, NeurIPS, arXiv:2406.02507, Eq. 3"};

  AutoGuidance(WeakBranch weak, double scale, double cfg_scale = 1.0)
      : weak_(std::move(weak)), scale_(scale), cfg_scale_(cfg_scale) {}

  static std::shared_ptr<const GuidanceRule> make(const AutoGuidanceOptions& o, const BuildContext& context) {
    check_ranges(info.name, o);
    return std::make_shared<const AutoGuidance>(
        WeakBranch{.model = context.bundle_for(info.name).model(o.weak_model)}, o.scale, o.cfg_scale);
  }

  BranchSet branches(const StepPosition&) const override {
    return {.cond = scale_ != 0.0 && cfg_scale_ != 0.0,
            .uncond = scale_ != 0.0 && cfg_scale_ != 1.0,
            .weak = scale_ != 1.0};
  }
  const WeakBranch* weak_branch() const override { return &weak_; }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep&, GuidanceState*) const override {
    at::Tensor strong = o.cond.defined() ? o.cond : o.uncond;
    if (o.cond.defined() && o.uncond.defined()) strong = at::lerp(o.uncond, o.cond, cfg_scale_);
    if (!o.weak.defined()) return strong;
    return strong.defined() ? at::lerp(o.weak, strong, scale_) : o.weak;
  }

 private:
  WeakBranch weak_;
  double scale_, cfg_scale_;
};

}  // namespace glint
