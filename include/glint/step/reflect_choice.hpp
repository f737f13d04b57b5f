// The reflection under its own name: every way its predictors can differ, in one strategy.
#pragma once

#include <glint/step/rf_sampling.hpp>
#include <glint/step/w2sd.hpp>

#include <memory>

namespace glint {

struct ReflectChoiceOptions {
  W2sdOptions predictors = {};
  double forward_scale = 0.0,
         forward_null_mix = 0.0;  ///< token embeddings of the strong predictor, see RfSamplingOptions
  double inverse_scale = 0.0, inverse_null_mix = 0.0;  ///< and of the weak predictor
  UncondEmbedding uncond = UncondEmbedding::Faithful;

  static void fields(auto& visit, auto& o) {
    W2sdOptions::fields(visit, o.predictors);
    const Field mix{.help = "as in rf-sampling", .minimum = -100, .maximum = 100};
    visit("forward_scale", o.forward_scale, mix);
    visit("forward_null_mix", o.forward_null_mix, mix);
    visit("inverse_scale", o.inverse_scale, mix);
    visit("inverse_null_mix", o.inverse_null_mix, mix);
    visit("uncond", o.uncond, Field{.help = "the unconditional embedding of the mix"});
  }
};

/// Returns a reflection whose predictors differ in any mixture of model, adapter, prompt, guidance and token embeddings; the
/// gaps add up to first order. legacy=true is that of W2sd.
/// Cost:    N G + T S (G_strong + G_weak) rows.
/// Errors:  those of W2sd but one: predictors that do not differ are allowed, and measure the drift of the reflection itself.
class ReflectChoice {
 public:
  using Options = ReflectChoiceOptions;
  static constexpr EntryInfo info{
      .kind = "step",
      .name = "reflect",
      .summary =
          "the reflection itself, its predictors differing in any mixture of model, adapter, guidance and prompt",
      .cost = "N G + T S (G_strong + G_weak) rows, S = sum of min(span, N-1-i) over active steps i",
      .source = "Bai et al. 2025, arXiv:2502.00473"};

  static std::shared_ptr<const StepStrategy> make(const ReflectChoiceOptions& o,
                                                  const BuildContext& context) {
    check_ranges(info.name, o);
    PredictorChange strong = W2sd::strong_predictor(o.predictors, context), weak = W2sd::weak_predictor(o.predictors, context);
    if (o.forward_scale != 0.0)
      strong = strong | RfSampling::with_tokens_mixed(o.forward_scale, o.forward_null_mix, o.uncond);
    if (o.inverse_scale != 0.0)
      weak = weak | RfSampling::with_tokens_mixed(o.inverse_scale, o.inverse_null_mix, o.uncond);
    return std::make_shared<Reflect>(std::string(info.name), strong, weak,
                                     released(info.name, o.predictors.reflect));
  }
};

}  // namespace glint
