// A way to predict: a model with its adapters, what it is conditioned on, and how its branches become one
// prediction.
#pragma once

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

/// A way to predict. Reflections hold two, a strong and a weak one; the sampler holds one. Cheap to copy,
/// immutable in use.
struct GLINT_API Predictor {
  std::shared_ptr<const Model> model = {};
  std::shared_ptr<const GuidanceRule> rule = {};
  std::vector<std::shared_ptr<const GuidanceFilter>> filters = {};  ///< around the rule, the innermost first
  Adapters adapters = {};
  /// Returns the prompt this predictor uses instead of the request's; empty = the request's own.
  std::function<Prompt(const Prompt&)> condition = nullptr;
  std::optional<double> embedded_guidance = std::nullopt;  ///< input of a guidance-distilled model
  AttentionPolicy attention = {};                          ///< what the model's attention layers do

  /// Returns what the rule and its filters evaluate at a step.
  BranchSet branches(const StepPosition& position) const;

  /// Returns the guided output, through the rule and its filters. `state` is the rule's, from begin().
  at::Tensor combine(const BranchOutputs& outputs, const GuidanceStep& step, GuidanceState* state) const;
};

/// Throws InvalidArgument, its message led by `owner`, unless the predictor's model can do what is asked of
/// it: it has the branches of the rule, the adapters, an input for the embedded guidance, and attention
/// layers for the policy.
GLINT_API void check_predictor(std::string_view owner, const Predictor& predictor, int steps);

/// Throws InvalidArgument, its message led by `owner`, unless `other` predicts the same quantity of the same
/// latents as `own`, so that their predictions can be added.
GLINT_API void check_same_latents(std::string_view owner, const Model& other, const Model& own);

}  // namespace glint
