// A predictor: a model with its adapters, its conditioning, and how its branches become one prediction.
#pragma once

#include <glint/attention/normalized_guidance.hpp>
#include <glint/attention/policy.hpp>
#include <glint/export.hpp>
#include <glint/guidance/guidance_filter.hpp>
#include <glint/guidance/guidance_rule.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace glint {

/// Everything a guided prediction depends on. The sampler holds one, a reflection two: a strong and a weak
/// one. Cheap to copy, immutable in use.
struct GLINT_API Predictor {
  std::shared_ptr<const Model> model = {};
  std::shared_ptr<const GuidanceRule> rule = {};
  std::vector<std::shared_ptr<const GuidanceFilter>> filters = {};  ///< around the rule, innermost first
  Adapters adapters = {};
  /// Maps the request's prompt to this predictor's; empty = unchanged.
  std::function<Prompt(const Prompt&)> condition = nullptr;
  std::optional<double> embedded_guidance = std::nullopt;       ///< input of a guidance-distilled model
  AttentionPolicy attention = {};                               ///< policy of the model's attention layers
  std::optional<NormalizedGuidance> normalized = std::nullopt;  ///< of conditional branches, from `uncond`

  /// Returns the branches the rule and its filters need at a step.
  BranchSet branches(const StepPosition& position) const;

  /// Returns the guided output of the rule and its filters. `state` is the rule's, from begin().
  at::Tensor combine(const BranchOutputs& outputs, const GuidanceStep& step, GuidanceState* state) const;
};

/// Throws InvalidArgument, prefixing its message with `owner`, unless the predictor's model supports the
/// rule's branches, the adapters, the embedded guidance and the attention policy.
GLINT_API void check_predictor(std::string_view owner, const Predictor& predictor, int steps);

/// Throws InvalidArgument, prefixing its message with `owner`, unless `other` predicts the same quantity for
/// the same latents as `own`, so that their predictions can be added.
GLINT_API void check_same_latents(std::string_view owner, const Model& other, const Model& own);

}  // namespace glint
