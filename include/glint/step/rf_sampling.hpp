// RF-Sampling: reflects between amplified and attenuated token embeddings. Needs no CFG, so it works on
// guidance-distilled flow models.
#pragma once

#include <glint/step/reflect.hpp>

namespace glint {

/// Which unconditional embedding RF-Sampling mixes in.
enum class UncondEmbedding {
  Faithful,  ///< the encoding of the empty prompt, as published
  /// The prompt's own, as the released code does by mistake; the mix weights then have no effect on it. If
  /// guidance evaluates the unconditional branch, that branch's embedding is mixed with the prompt's, as in
  /// the released SD3.5 code.
  LegacyPrompt
};
template <>
struct EnumNames<UncondEmbedding> {
  static constexpr std::array<std::string_view, 2> values{"faithful", "legacy-prompt"};
};

struct RfSamplingOptions {
  static constexpr EntryInfo info{
      .kind = "step",
      .name = "rf-sampling",
      .summary = "denoise with amplified token embeddings, invert with attenuated ones",
      .cost = "N G + 2 T S G rows, S = sum of min(span, N-1-i) over active steps i",
      .source = "FreeLunchInference 2025, arXiv:2603.06165"};

  double forward_scale = 3.5;     ///< s when denoising; for FLUX.1-dev. FLUX.1-lite and SD3.5: 9
  double forward_null_mix = 0.3;  ///< r when denoising
  double inverse_scale = 0.0;     ///< s when inverting; FLUX.1-lite and SD3.5: -1
  double inverse_null_mix = 0.7;  ///< r when inverting
  UncondEmbedding uncond = UncondEmbedding::Faithful;
  ReflectOptions reflect = {.merge = 0.5};

  static void fields(auto& visit, auto& o) {
    visit(
        "forward_scale", o.forward_scale,
        Field{.help = "weight of the mixed embedding added when denoising", .minimum = -100, .maximum = 100});
    visit("forward_null_mix", o.forward_null_mix,
          Field{.help = "weight of the unconditional embedding in that mix", .minimum = -10, .maximum = 10});
    visit(
        "inverse_scale", o.inverse_scale,
        Field{.help = "weight of the mixed embedding added when inverting", .minimum = -100, .maximum = 100});
    visit("inverse_null_mix", o.inverse_null_mix,
          Field{.help = "weight of the unconditional embedding in that mix", .minimum = -10, .maximum = 10});
    visit("uncond", o.uncond, Field{.help = "which unconditional embedding to mix in"});
    ReflectOptions::fields(visit, o.reflect);
  }
};

/// Replaces the token embeddings by c + s ((1 - r) c + r c_uncond).
/// Errors:  InvalidArgument, on prediction, if the negative prompt's embeddings are missing or of another
///          shape.
inline PredictorChange with_mixed_tokens(double s, double r, UncondEmbedding uncond) {
  return with_condition([s, r, uncond](const Prompt& prompt) {
    const bool alike =
        prompt.uncond.tokens.defined() && prompt.uncond.tokens.sizes() == prompt.cond.tokens.sizes();
    const auto mixed = [&](const Conditioning& c, const Conditioning& other) {
      return add(c, lerp(c, other, r), s);
    };
    if (uncond == UncondEmbedding::LegacyPrompt)
      return Prompt{scale(prompt.cond, 1.0 + s), alike ? mixed(prompt.uncond, prompt.cond) : prompt.uncond};
    GLINT_CHECK(
        alike, InvalidArgument,
        "rf-sampling: needs the negative prompt's token embeddings in the shape of the prompt's; give "
        "them, or uncond=legacy-prompt");
    return Prompt{mixed(prompt.cond, prompt.uncond), prompt.uncond};
  });
}

/// Returns RF-Sampling: token embeddings become c' = c + s ((1 - r) c + r c_uncond), with a large s to
/// denoise and a small one to invert; pooled embedding and guidance stay as they are. Under CFG, form=direct
/// has the same first-order effect for only 2 rows more per step, since the unconditional row is shared.
/// Cost:    N G + 2 T S G rows, S = sum of min(span, N-1-i) over active steps i; with legacy, S = span times
///          the number of active steps, the last one included.
/// Source:  FreeLunchInference, arXiv:2603.06165. Deviations: matched interval, faithful unconditional
///          embedding, merge 0 is off; legacy=true is the released code: coefficients=legacy-upper,
///          uncond=legacy-prompt, merge 0 means 1, and the last step is active too, repeated where the span
///          passes the end.
inline StepMethod rf_sampling(RfSamplingOptions o = {}) {
  constexpr std::string_view kName = RfSamplingOptions::info.name;
  check_ranges(kName, o);
  o.reflect = with_legacy_inversion(kName, o.reflect, Coefficients::LegacyUpper);
  if (o.reflect.legacy) {
    o.uncond = UncondEmbedding::LegacyPrompt;
    o.reflect.repeat_last = true;
    if (o.reflect.merge == 0.0) o.reflect.merge = 1.0;
  }
  return reflection(std::string(kName), with_mixed_tokens(o.forward_scale, o.forward_null_mix, o.uncond),
                    with_mixed_tokens(o.inverse_scale, o.inverse_null_mix, o.uncond), o.reflect);
}

}  // namespace glint
