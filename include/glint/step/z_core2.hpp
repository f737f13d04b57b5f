// Z-CoRe2: Z-Sampling whose inversion uses CoRe2's weak network, one row instead of two.
#pragma once

#include <glint/guidance/core2.hpp>
#include <glint/step/predictors.hpp>

namespace glint {

struct ZCore2Options {
  std::optional<double> guidance_forward = std::nullopt;  ///< unset = the run's own rule
  double gap_scale = 1.5;  ///< the released code's; above (g1-1)/(w0-1) the gap turns round
  std::optional<double> guidance_final = std::nullopt;  ///< the released SD3.5 code's: 3.5
  std::string network = "core2_weak";
  std::optional<TextRows> text = std::nullopt;
  ReflectOptions reflect = {};

  static void fields(auto& visit, auto& o) {
    visit("guidance_forward", o.guidance_forward,
          Field{.help = "guidance scale of the denoise predictor; unset = the run's",
                .minimum = -100,
                .maximum = 1000});
    visit("gap_scale", o.gap_scale,
          Field{.help = "g of c + g (R(c) - c) in the inversion", .minimum = -100, .maximum = 1000});
    visit(
        "guidance_final", o.guidance_final,
        Field{.help =
                  "guidance scale of the step after a reflection; unset = the run's; the released SD3.5 code "
                  "has 3.5 whatever the run's",
              .minimum = -100,
              .maximum = 1000});
    visit("network", o.network, Field{.help = "component of the bundle"});
    visit("text", o.text, kTextRowsField);
    ReflectOptions::fields(visit, o.reflect);
  }
};

/// A reflection after which the accepted step has a guidance scale of its own.
class ReflectThenGuide final : public StepStrategy {
 public:
  ReflectThenGuide(std::shared_ptr<const StepStrategy> reflection, PredictorChange guided)
      : reflection_(std::move(reflection)), guided_(std::move(guided)) {}

  std::string_view name() const override { return reflection_->name(); }
  bool active(int i, int n) const override { return reflection_->active(i, n); }
  bool refines() const override { return reflection_->refines(); }
  at::Tensor refine(const at::Tensor& x, const StepContext& c) const override {
    return reflection_->refine(x, c);
  }

  std::vector<Gap> gaps(const NoiseSchedule& schedule, int step, const Predictor& predictor) const override {
    std::vector<Gap> all = reflection_->gaps(schedule, step, predictor);
    all.push_back({guided_(predictor), predictor, 1.0});
    return all;
  }

  void validate(const NoiseSchedule& schedule, const Predictor& predictor) const override {
    reflection_->validate(schedule, predictor);
    check_predictor(fmt::format("{}, final step: ", name()), guided_(predictor), schedule.steps());
  }

 private:
  std::shared_ptr<const StepStrategy> reflection_;
  PredictorChange guided_;
};

/// Returns Z-CoRe2: a reflection whose inversion predicts c + g (R(c) - c), R the weak network that imitates CFG at a scale w0.
/// To first order the gap is (g1 - 1 - g (w0 - 1)) (P_cond - P_uncond): it pushes the wrong way for g > (g1-1)/(w0-1), so choose g
/// for the network at hand.
/// Cost:    N G + T S (G(g1) + 1) rows and T S evaluations of R. guidance_final shares the branches of the run's CFG.
/// Source:  Shao et al., "CoRe^2", arXiv:2503.09662. Deviation: matched coefficients; legacy=true is the released SDXL code
///          (coefficients=legacy-shifted), guidance_final=3.5 the released SD3.5 code.
class ZCore2 {
 public:
  using Options = ZCore2Options;
  static constexpr EntryInfo info{
      .kind = "step",
      .name = "z-core2",
      .summary = "Z-Sampling with CoRe2's weak network in the inversion",
      .cost = "N G + T S (G(forward) + 1) rows, S = sum of min(span, N-1-i) over active steps i",
      .source = "Shao et al. 2025, arXiv:2503.09662"};

  static std::shared_ptr<const StepStrategy> make(const ZCore2Options& o, const BuildContext& context) {
    check_ranges(info.name, o);
    const auto inverse = std::make_shared<const Core2Inverse>(
        weak_network(context.bundle_for(info.name), o.network, o.text), o.gap_scale);
    std::shared_ptr<const StepStrategy> reflection = std::make_shared<Reflect>(
        std::string(info.name), o.guidance_forward ? with_guidance(*o.guidance_forward) : same_predictor(),
        with_rule(inverse), released(info.name, o.reflect));
    if (!o.guidance_final) return reflection;
    return std::make_shared<ReflectThenGuide>(std::move(reflection), with_guidance(*o.guidance_final));
  }
};

}  // namespace glint
