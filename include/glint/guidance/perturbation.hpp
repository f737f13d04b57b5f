// Perturbed guidance (SLG, PAG, SEG): guidance away from the same network with its layers perturbed.
#pragma once

#include <glint/core/step_window.hpp>
#include <glint/guidance/difference_rule.hpp>

#include <utility>

namespace glint {

struct PerturbationOptions {
  double scale = 7.5;
  double perturbation_scale = 2.8;
  double adaptive_scale = 0.0;
  StepWindow window = {.start = 0.01, .stop = 0.2};

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale, kScaleField);
    visit(
        "perturbation_scale", o.perturbation_scale,
        Field{.help = "guidance scale away from the perturbed prediction", .minimum = -100, .maximum = 1000});
    visit("adaptive_scale", o.adaptive_scale,
          Field{.help = "drop of perturbation_scale per training step (of 1000) towards the data, as in "
                        "PAG's pipelines; 0 = off",
                .minimum = 0,
                .maximum = 1000});
    StepWindow::fields(visit, o.window, "start of the perturbed steps, exclusive",
                       "end of the perturbed steps");
  }
};

/// Predicts u + w (c - u) + g' (c - k) on steps start N < i < stop N, plain CFG elsewhere. k is
/// the perturbed network's prediction, g' = max(0, g - a (1000 - t)) and t the model time in [0, 1000]. At w
/// = 1 the unconditional branch is skipped: c + g' (c - k), as in PAG's pipelines.
/// Cost:    3 rows per sample on perturbed steps (2 at scale 1), CFG's rows elsewhere.
/// Source:  Ahn et al., "PAG", ECCV 2024, arXiv:2403.17377; Hong, "SEG", NeurIPS 2024, arXiv:2408.00760;
///          window and default scale from diffusers' skip-layer guidance.
class Perturbation final : public GuidanceRule {
 public:
  using Options = PerturbationOptions;
  static constexpr EntryInfo info{
      .kind = "rule",
      .name = "perturbation",
      .summary = "CFG plus guidance away from a perturbed network (SLG, PAG, SEG)",
      .cost = "2 N rows, plus 1 per perturbed step; N less at scale 1",
      .source = "Ahn et al. 2024, arXiv:2403.17377; Hong 2024, arXiv:2408.00760"};

  /// `weak` specifies the perturbed network.   Errors: InvalidArgument for options out of range.
  explicit Perturbation(WeakBranch weak, PerturbationOptions options = {})
      : weak_(std::move(weak)), options_(options) {
    check_ranges(info.name, options_);
  }

  BranchSet branches(const StepPosition& p) const override {
    // Not whole numbers: the default ends at 5.6 of 28 steps, which includes step 5.
    const bool perturbed =
        p.steps * options_.window.start < p.step && p.step < p.steps * options_.window.stop;
    return {.cond = true,
            .uncond = options_.scale != 1.0,
            .weak = perturbed && options_.perturbation_scale != 0.0};
  }
  const WeakBranch* weak_branch() const override { return &weak_; }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep& step, GuidanceState*) const override {
    const at::Tensor guided = o.uncond.defined() ? at::lerp(o.uncond, o.cond, options_.scale) : o.cond;
    if (!o.weak.defined()) return guided;
    const double scale = (std::max)(
        0.0, options_.perturbation_scale - options_.adaptive_scale * (1000.0 - step.level.model_time));
    return guided.add(o.cond, scale).sub_(o.weak, scale);
  }

 private:
  WeakBranch weak_;
  PerturbationOptions options_;
};

}  // namespace glint
