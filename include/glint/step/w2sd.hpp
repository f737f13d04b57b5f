// W2SD: reflects between a strong and a weak model, adapter scale, prompt, guidance scale or any mix of them.
#pragma once

#include <glint/guidance/cfg.hpp>
#include <glint/step/reflect.hpp>

#include <memory>
#include <optional>
#include <string>

namespace glint {

/// What one of W2SD's predictors changes; the rest is the run's.
struct W2sdSide {
  std::shared_ptr<const Model> model = {};
  std::string adapter = "";
  std::optional<double> adapter_scale = std::nullopt;  ///< the released demo: 1.5 strong, -1.5 weak
  std::optional<Conditioning> cond = std::nullopt;     ///< replaces the prompt
  std::optional<double> guidance = std::nullopt;       ///< the released demo: 1 for the weak predictor
};

/// Derives the predictor of one side.
/// Errors:  InvalidArgument for an adapter scale without an adapter.
inline PredictorChange with_side(const W2sdSide& side, Branches branches = Branches::Needed) {
  PredictorChange change = same_predictor();
  if (side.model) change = change | with_model(side.model);
  if (side.adapter_scale) {
    GLINT_CHECK(!side.adapter.empty(), InvalidArgument,
                "w2sd.adapter: expected the name of the adapter whose scale is given, got none");
    change = change | with_adapter(side.adapter, *side.adapter_scale);
  }
  if (side.cond)
    change = change | with_condition([cond = *side.cond](const Prompt& p) { return Prompt{cond, p.uncond}; });
  if (side.guidance) change = change | with_guidance(*side.guidance, branches);
  return change;
}

/// Returns W2SD: a reflection that denoises with a strong predictor and inverts with a weak one, differing in
/// weights, adapters, prompt, guidance or all of them. To first order the step's prediction becomes P + T m
/// (P_strong - P_weak). If only the guidance differs, it is bit-identical to Z-Sampling. Two models need the
/// memory of both.
/// Cost:    N G + T S (G_strong + G_weak) rows, S as for Z-Sampling.
/// Errors:  InvalidArgument if the predictors are identical, or for an adapter scale without an adapter.
/// Source:  Bai et al., "Weak-to-Strong Diffusion with Reflection", arXiv:2502.00473, Alg. 1. Deviations:
///          matched coefficients, no unneeded branches; legacy=true is the released code:
///          coefficients=legacy-shifted, branches=legacy-both.
inline StepMethod w2sd(const W2sdSide& strong, const W2sdSide& weak, const ReflectOptions& options = {},
                       Branches branches = Branches::Needed) {
  constexpr std::string_view kName = "w2sd";
  const bool same_prompt = strong.cond && weak.cond ? same_tensors(*strong.cond, *weak.cond)
                                                    : strong.cond.has_value() == weak.cond.has_value();
  GLINT_CHECK(strong.model != weak.model || strong.adapter_scale != weak.adapter_scale ||
                  strong.adapter != weak.adapter || !same_prompt || strong.guidance != weak.guidance,
              InvalidArgument,
              "w2sd: nothing tells its predictors apart; give weak_model, an adapter with strong_adapter and "
              "weak_adapter, strong_prompt or weak_prompt, or strong_guidance and weak_guidance");
  if (options.legacy) branches = Branches::LegacyBoth;
  return reflection(std::string(kName), with_side(strong, branches), with_side(weak, branches),
                    with_legacy_inversion(kName, options));
}

}  // namespace glint
