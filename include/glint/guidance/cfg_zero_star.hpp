// CFG-Zero*: rescales the unconditional prediction to fit the conditional one before guidance.
#pragma once

#include <glint/guidance/difference_rule.hpp>

namespace glint {

struct CfgZeroStarOptions {
  double scale = 7.5;
  int zero_steps = 1;

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale, kScaleField);
    visit("zero_steps", o.zero_steps,
          Field{.help = "initial steps with a zero prediction; velocity models only",
                .minimum = 0,
                .maximum = 1000,
                .unit = "steps"});
  }
};

/// Predicts a u + w (c - a u) with a = <c,u> / |u|^2 per sample, and zero on the first steps: zero velocity
/// leaves the latents unchanged.
/// Cost:    2 rows per sample and step; 1 on a zeroed step.
/// Errors:  InvalidArgument for zero steps with a model that does not predict velocity.
/// Source:  Fan et al., "CFG-Zero*", arXiv:2503.18886, Alg. 1.
class CfgZeroStar final : public GuidanceRule {
 public:
  using Options = CfgZeroStarOptions;
  static constexpr EntryInfo info{
      .kind = "rule",
      .name = "cfg-zero-star",
      .summary = "guidance with the unconditional prediction rescaled to fit the conditional one",
      .cost = "2 N rows, one less per zeroed step",
      .source = "Fan et al. 2025, arXiv:2503.18886"};

  explicit CfgZeroStar(CfgZeroStarOptions options = {}) : options_(options) {
    check_ranges(info.name, options);
  }

  BranchSet branches(const StepPosition& position) const override {
    return {.cond = true, .uncond = position.step >= options_.zero_steps};
  }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep&, GuidanceState*) const override {
    if (!o.uncond.defined()) return at::zeros_like(o.cond);
    const at::Tensor fit =
        per_sample::dot(o.cond, o.uncond).div(per_sample::dot(o.uncond, o.uncond).add(1e-8));
    return at::lerp(per_sample::scaled(o.uncond, fit), o.cond, options_.scale);
  }

  void validate(const ModelInfo& model) const override {
    GLINT_CHECK(options_.zero_steps == 0 || model.parameterization == Parameterization::Velocity,
                InvalidArgument,
                "cfg-zero-star.zero_steps: a zero prediction means standing still for velocity models only; "
                "expected 0 for model '{}', which predicts {}, got {}",
                model.name, enum_name(model.parameterization), options_.zero_steps);
  }

 private:
  CfgZeroStarOptions options_;
};

}  // namespace glint
