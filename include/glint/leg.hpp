// A way to predict: a model with its adapters, what it is conditioned on, and the rule that combines its branches.
#pragma once

#include <glint/guidance/guidance_rule.hpp>
#include <glint/model/model.hpp>
#include <glint/text/conditioning.hpp>

#include <functional>
#include <memory>
#include <optional>

namespace glint {

/// The prompt and the null (negative) prompt of one request.
struct Prompt {
  Conditioning cond;
  Conditioning null;
};

/// A way to predict. Reflections hold two; the sampler holds one. Cheap to copy, immutable in use.
struct Leg {
  std::shared_ptr<const Model> model;
  std::shared_ptr<const GuidanceRule> rule;
  Adapters adapters = {};
  /// Returns the prompt this leg uses instead of the request's; empty = the request's own.
  std::function<Prompt(const Prompt&)> condition = nullptr;
  std::optional<double> embedded_guidance = std::nullopt;  ///< input of a guidance-distilled model
};

}  // namespace glint
