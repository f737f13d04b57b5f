// A way to predict: a model with its adapters, what it is conditioned on, and the rule that combines its branches.
#pragma once

#include <glint/export.hpp>
#include <glint/guidance/guidance_rule.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string_view>

namespace glint {

/// A way to predict. Reflections hold two; the sampler holds one. Cheap to copy, immutable in use.
struct Leg {
  std::shared_ptr<const Model> model = {};
  std::shared_ptr<const GuidanceRule> rule = {};
  Adapters adapters = {};
  /// Returns the prompt this leg uses instead of the request's; empty = the request's own.
  std::function<Prompt(const Prompt&)> condition = nullptr;
  std::optional<double> embedded_guidance = std::nullopt;  ///< input of a guidance-distilled model
  AttentionPolicy attention = {};                          ///< what the model's attention layers do
};

/// Throws InvalidArgument, its message led by `owner`, unless the leg's model can do what the leg asks of it: it has the
/// branches of the rule, the adapters, an input for the embedded guidance, and attention layers for the
/// policy.
GLINT_API void check_leg(std::string_view owner, const Leg& leg, int steps);

/// Throws InvalidArgument, its message led by `owner`, unless `other` predicts the same quantity of the same latents as
/// `own`, so that their predictions can be added.
GLINT_API void check_same_latents(std::string_view owner, const Model& other, const Model& own);

}  // namespace glint
