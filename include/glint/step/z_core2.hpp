// Z-CoRe2: Z-Sampling that inverts with CoRe2's weak network, at one row instead of two.
#pragma once

#include <glint/guidance/core2.hpp>
#include <glint/step/reflect.hpp>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace glint {

struct ZCore2Options {
  static constexpr EntryInfo info{
      .kind = "step",
      .name = "z-core2",
      .summary = "Z-Sampling that inverts with CoRe2's weak network",
      .cost = "N G + T S (G(forward) + 1) rows, S = sum of min(span, N-1-i) over active steps i",
      .source = "Shao et al. 2025, arXiv:2503.09662"};

  std::optional<double> guidance_forward = std::nullopt;  ///< unset = the run's own rule
  double gap_scale = 1.5;  ///< as released; above (g1-1)/(w0-1) the gap changes sign
  std::optional<double> guidance_final = std::nullopt;  ///< 3.5 in the released SD3.5 code
  ReflectOptions reflect = {};

  static void fields(auto& visit, auto& o) {
    visit(
        "guidance_forward", o.guidance_forward,
        Field{.help = "guidance scale when denoising; default: the run's", .minimum = -100, .maximum = 1000});
    visit("gap_scale", o.gap_scale,
          Field{.help = "g in c + g (R(c) - c) when inverting", .minimum = -100, .maximum = 1000});
    visit("guidance_final", o.guidance_final,
          Field{.help = "guidance scale of the step after a reflection; default: the run's; released SD3.5 "
                        "code: always 3.5",
                .minimum = -100,
                .maximum = 1000});
    ReflectOptions::fields(visit, o.reflect);
  }
};

/// Gives the step after a reflection its own prediction, on top of any term of the reflection.
class PredictAfterReflection final : public PredictionTerm {
 public:
  PredictAfterReflection(PredictorChange accepted, ReflectOptions options,
                         std::shared_ptr<const PredictionTerm> reflection = nullptr)
      : accepted_(std::move(accepted)), options_(options), reflection_(std::move(reflection)) {}

  std::vector<Gap> gaps(const NoiseSchedule& schedule, int step, const Predictor& predictor) const override {
    if (!reflects_at(options_, step, schedule.steps())) return {};
    std::vector<Gap> all;
    if (reflection_) all = reflection_->gaps(schedule, step, predictor);
    all.push_back({accepted_(predictor), predictor, 1.0});
    return all;
  }

  void validate(const NoiseSchedule& schedule, const Predictor& predictor) const override {
    if (reflection_) reflection_->validate(schedule, predictor);
    check_predictor("step after a reflection: ", accepted_(predictor), schedule.steps());
  }

 private:
  PredictorChange accepted_;
  ReflectOptions options_;
  std::shared_ptr<const PredictionTerm> reflection_;
};

/// Returns Z-CoRe2: a reflection whose inversion predicts c + g (R(c) - c), where the weak network R imitates
/// CFG at a scale w0. To first order the gap is (g1 - 1 - g (w0 - 1)) (P_cond - P_uncond), which points the
/// wrong way for g > (g1-1)/(w0-1), so choose g to suit the network.
/// Cost:    N G + T S (G(g1) + 1) rows plus T S evaluations of R. guidance_final shares the branches of the
///          run's CFG.
/// Source:  Shao et al., "CoRe^2", arXiv:2503.09662. Deviation: matched coefficients; legacy=true is the
///          released SDXL code (coefficients=legacy-shifted), guidance_final=3.5 the released SD3.5 code.
inline StepMethod z_core2(WeakNetwork network, const ZCore2Options& o = {}) {
  constexpr std::string_view kName = ZCore2Options::info.name;
  check_ranges(kName, o);
  const ReflectOptions options = with_legacy_inversion(kName, o.reflect);
  StepMethod method = reflection(
      std::string(kName), o.guidance_forward ? with_guidance(*o.guidance_forward) : same_predictor(),
      with_rule(std::make_shared<const Core2Inverse>(std::move(network), o.gap_scale)), options);
  if (o.guidance_final)
    method.term = std::make_shared<const PredictAfterReflection>(with_guidance(*o.guidance_final), options,
                                                                 method.term);
  return method;
}

}  // namespace glint
