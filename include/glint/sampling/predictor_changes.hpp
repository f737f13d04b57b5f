// Derives a reflection's predictors from the run's: another guidance scale, adapters, model or prompt.
#pragma once

#include <glint/guidance/cfg.hpp>
#include <glint/sampling/predictor.hpp>

#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace glint {

/// Derives a predictor from another, typically a reflection's from the run's own.
using PredictorChange = std::function<Predictor(const Predictor&)>;

/// Leaves the predictor unchanged.
inline PredictorChange same_predictor() {
  return [](const Predictor& predictor) { return predictor; };
}

/// Replaces the rule; the predictor's own filters stay around it.
inline PredictorChange with_rule(std::shared_ptr<const GuidanceRule> rule) {
  return [rule = std::move(rule)](Predictor predictor) {
    predictor.rule = rule;
    return predictor;
  };
}

/// Sets the guidance scale: of CFG, or the input of a guidance-distilled model.
inline PredictorChange with_guidance(double scale, Branches branches = Branches::Needed) {
  return [scale,
          guided = with_rule(std::make_shared<const Cfg>(CfgOptions{scale, branches}))](Predictor predictor) {
    if (!predictor.model->info().embedded_guidance) return guided(predictor);
    predictor.embedded_guidance = scale;
    return predictor;
  };
}

/// Sets the scale of one adapter.
inline PredictorChange with_adapter(std::string name, double scale) {
  return [name = std::move(name), scale](Predictor predictor) {
    predictor.adapters[name] = scale;
    return predictor;
  };
}

/// Switches to another model of the same latents. Drops the adapters, which belong to the old model.
inline PredictorChange with_model(std::shared_ptr<const Model> model) {
  return [model = std::move(model)](Predictor predictor) {
    predictor.model = model;
    predictor.adapters.clear();
    if (!model->info().embedded_guidance) predictor.embedded_guidance.reset();
    if (model->info().attention_layers == 0) predictor.attention = {};
    if (model->info().text_tokens == TextTokens::Unknown) predictor.normalized.reset();
    return predictor;
  };
}

/// Changes the prompt, after any change already in place.
inline PredictorChange with_condition(std::function<Prompt(const Prompt&)> change) {
  return [change = std::move(change)](Predictor predictor) {
    predictor.condition = [before = predictor.condition, change](const Prompt& prompt) {
      return change(before ? before(prompt) : prompt);
    };
    return predictor;
  };
}

/// Applies `first`, then `second`.
inline PredictorChange operator|(PredictorChange first, PredictorChange second) {
  return [first = std::move(first), second = std::move(second)](const Predictor& predictor) {
    return second(first(predictor));
  };
}

}  // namespace glint
