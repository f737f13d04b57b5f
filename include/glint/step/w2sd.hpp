// W2SD: reflect between a strong and a weak model, adapter scale, guidance scale, or any mixture of them.
#pragma once

#include <glint/catalog/build_context.hpp>
#include <glint/step/predictors.hpp>

#include <memory>
#include <optional>
#include <string>

namespace glint {

struct W2sdOptions {
  std::string strong_model = "";  ///< component of the bundle; empty = the run's
  std::string weak_model = "";
  std::optional<std::string> strong_prompt = std::nullopt;  ///< unset = the run's own
  std::optional<std::string> weak_prompt = std::nullopt;
  std::string adapter = "";                              ///< the adapter whose scales the next two are
  std::string other_adapter = "";                        ///< the one weak_adapter scales, if not the same
  std::optional<double> strong_adapter = std::nullopt;   ///< the released demo: 1.5
  std::optional<double> weak_adapter = std::nullopt;     ///< the released demo: -1.5
  std::optional<double> strong_guidance = std::nullopt;  ///< unset = the run's own rule
  std::optional<double> weak_guidance = 1.0;             ///< the released demo's; unset = the run's own rule
  Branches branches = Branches::Needed;
  ReflectOptions reflect = {};

  static void fields(auto& visit, auto& o) {
    visit("strong_model", o.strong_model,
          Field{.help = "denoiser component of the strong predictor; empty = the run's"});
    visit("weak_model", o.weak_model,
          Field{.help = "denoiser component of the weak predictor, such as weak_denoiser; empty = the run's"});
    visit("strong_prompt", o.strong_prompt,
          Field{.help = "prompt of the strong predictor, such as a more detailed one; unset = the run's"});
    visit("weak_prompt", o.weak_prompt, Field{.help = "prompt of the weak predictor; unset = the run's"});
    visit("adapter", o.adapter, Field{.help = "adapter that strong_adapter and weak_adapter scale"});
    visit("other_adapter", o.other_adapter,
          Field{.help =
                    "adapter that weak_adapter scales instead, of a pair of a strong and a weak direction"});
    visit(
        "strong_adapter", o.strong_adapter,
        Field{.help = "adapter scale of the strong predictor; unset = the run's", .minimum = -100, .maximum = 100});
    visit("weak_adapter", o.weak_adapter,
          Field{.help = "adapter scale of the weak predictor, may be negative; unset = the run's",
                .minimum = -100,
                .maximum = 100});
    visit(
        "strong_guidance", o.strong_guidance,
        Field{
            .help = "guidance scale of the strong predictor; unset = the run's", .minimum = -100, .maximum = 1000});
    visit(
        "weak_guidance", o.weak_guidance,
        Field{.help = "guidance scale of the weak predictor; unset = the run's", .minimum = -100, .maximum = 1000});
    visit("branches", o.branches, kBranchesField);
    ReflectOptions::fields(visit, o.reflect);
  }
};

/// Returns W2SD: a reflection whose forward predictor is strong and whose inverse predictor is weak, in weights, adapters, prompt,
/// guidance or all of them. To first order the step's prediction becomes P + T m (P_strong - P_weak); with only the guidance
/// different it is Z-Sampling to the bit. Two models need the memory of both.
/// Cost:    N G + T S (G_strong + G_weak) rows, S as for Z-Sampling.
/// Errors:  InvalidArgument if nothing tells the predictors apart, or for an adapter scale without an adapter; NotFound for a
///          component the bundle lacks.
/// Source:  Bai et al., "Weak-to-Strong Diffusion with Reflection", arXiv:2502.00473, Alg. 1. Deviations: matched
///          coefficients, no branch that cannot matter; legacy=true is the released code: coefficients=legacy-shifted,
///          branches=legacy-both.
class W2sd {
 public:
  using Options = W2sdOptions;
  static constexpr EntryInfo info{
      .kind = "step",
      .name = "w2sd",
      .summary = "denoise with a strong predictor, invert with a weak one: models, adapters, prompts or guidance",
      .cost = "N G + T S (G_strong + G_weak) rows, S = sum of min(span, N-1-i) over active steps i",
      .source = "Bai et al. 2025, arXiv:2502.00473, Alg. 1"};

  static std::shared_ptr<const StepStrategy> make(const W2sdOptions& o, const BuildContext& context) {
    check_ranges(info.name, o);
    GLINT_CHECK(o.strong_model != o.weak_model || o.strong_adapter != o.weak_adapter ||
                    !o.other_adapter.empty() || o.strong_prompt != o.weak_prompt ||
                    o.strong_guidance != o.weak_guidance,
                InvalidArgument,
                "w2sd: nothing tells its predictors apart; give weak_model, an adapter with strong_adapter and "
                "weak_adapter, strong_prompt or weak_prompt, or strong_guidance and weak_guidance");
    return std::make_shared<Reflect>(std::string(info.name), strong_predictor(o, context), weak_predictor(o, context),
                                     released(info.name, o.reflect));
  }

  static PredictorChange strong_predictor(const W2sdOptions& o, const BuildContext& context) {
    return predictor({o.strong_model, o.adapter, o.strong_adapter, o.strong_prompt, o.strong_guidance}, o, context);
  }
  static PredictorChange weak_predictor(const W2sdOptions& o, const BuildContext& context) {
    const std::string& adapter = o.other_adapter.empty() ? o.adapter : o.other_adapter;
    return predictor({o.weak_model, adapter, o.weak_adapter, o.weak_prompt, o.weak_guidance}, o, context);
  }

 private:
  /// What one predictor has of its own.
  struct Own {
    const std::string &model, &adapter;
    std::optional<double> scale;
    const std::optional<std::string>& prompt;
    std::optional<double> guidance;
  };

  static PredictorChange predictor(const Own& own, const W2sdOptions& o, const BuildContext& context) {
    PredictorChange result = same_predictor();
    if (!own.model.empty()) result = result | with_model(context.bundle_for(info.name).model(own.model));
    if (own.scale) {
      GLINT_CHECK(!own.adapter.empty(), InvalidArgument,
                  "w2sd.adapter: expected the name of the adapter whose scale is given, got none");
      result = result | with_adapter(own.adapter, *own.scale);
    }
    if (own.prompt)
      result = result | with_condition([cond = context.encoded(info.name, *own.prompt)](const Prompt& p) {
                 return Prompt{cond, p.uncond};
               });
    const Branches branches = o.reflect.legacy ? Branches::LegacyBoth : o.branches;
    if (own.guidance) result = result | with_guidance(*own.guidance, branches);
    return result;
  }
};

}  // namespace glint
