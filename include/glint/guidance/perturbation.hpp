// Perturbed guidance (SLG, PAG, SEG): away from the same network with something inside it disturbed.
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
        Field{
            .help = "scale of the difference to the perturbed prediction", .minimum = -100, .maximum = 1000});
    visit("adaptive_scale", o.adaptive_scale,
          Field{.help = "how much less of it for each of 1000 training steps towards the data, as PAG's "
                        "pipelines have it; 0 is off",
                .minimum = 0,
                .maximum = 1000});
    visit("start", o.window.start,
          Field{.help = "steps after this one are perturbed",
                .minimum = 0,
                .maximum = 1,
                .unit = "fraction of steps"});
    visit(
        "stop", o.window.stop,
        Field{.help = "end of the perturbed steps", .minimum = 0, .maximum = 1, .unit = "fraction of steps"});
  }
};

/// Returns u + w (c - u) + g' (c - k), g' = max(0, g - a (1000 - t)) with t the model's time in thousandths,
/// k the prediction of the perturbed network, on steps floor(start N) < i < floor(stop N); plain CFG
/// elsewhere. At w = 1 the negative prompt is not evaluated: c + g (c - k), as PAG's pipelines compute it.
/// Cost:    3 rows per sample on perturbed steps (2 at scale 1), else those of CFG.
/// Source:  Ahn et al., "PAG", ECCV 2024, arXiv:2403.17377; Hong, "SEG", NeurIPS 2024, arXiv:2408.00760;
///          window and default of diffusers' skip-layer guidance.
class Perturbation final : public GuidanceRule {
 public:
  using Options = PerturbationOptions;
  static constexpr EntryInfo info{
      .kind = "rule",
      .name = "perturbation",
      .summary = "CFG plus guidance away from a perturbed network (SLG, PAG, SEG)",
      .cost = "2 N + 1 row for each perturbed step; N less at scale 1",
      .source = "Ahn et al. 2024, arXiv:2403.17377; Hong 2024, arXiv:2408.00760"};

  /// `weak` names the perturbed network.   Errors: InvalidArgument for options out of range.
  explicit Perturbation(WeakBranch weak, PerturbationOptions options = {})
      : weak_(std::move(weak)), options_(options) {
    check_ranges(info.name, options_);
  }

  BranchSet branches(const StepPosition& p) const override {
    const StepWindow& window = options_.window;
    const bool perturbed = window.first(p.steps) < p.step && p.step < window.end(p.steps);
    return {.cond = true,
            .uncond = options_.scale != 1.0,
            .weak = perturbed && options_.perturbation_scale != 0.0};
  }
  const WeakBranch* weak_branch() const override { return &weak_; }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep& step, GuidanceState*) const override {
    const at::Tensor guided = o.uncond.defined() ? at::lerp(o.uncond, o.cond, options_.scale) : o.cond;
    if (!o.weak.defined()) return guided;
    const double scale = std::max(
        0.0, options_.perturbation_scale - options_.adaptive_scale * (1000.0 - step.level.model_time));
    return guided.add(o.cond, scale).sub_(o.weak, scale);
  }

 private:
  WeakBranch weak_;
  PerturbationOptions options_;
};

}  // namespace glint
