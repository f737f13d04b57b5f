// Ways to make a predictor of a reflection from the run's own: another guidance scale, adapters, model, or
// prompt.
#pragma once

#include <glint/guidance/cfg.hpp>
#include <glint/sampling/predictor.hpp>

#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace glint {

/// Returns a predictor made from another, mostly one of a reflection from the run's own.
using PredictorChange = std::function<Predictor(const Predictor&)>;

/// Returns the run's predictor as it is.
inline PredictorChange same_predictor() {
  return [](const Predictor& predictor) { return predictor; };
}

/// Returns the predictor with another rule, inside the filters of its own.
inline PredictorChange with_rule(std::shared_ptr<const GuidanceRule> rule) {
  return [rule = std::move(rule)](Predictor predictor) {
    predictor.rule = rule;
    return predictor;
  };
}

/// Returns the predictor at another guidance scale: of CFG, or the input of a guidance-distilled model.
inline PredictorChange with_guidance(double scale, Branches branches = Branches::Needed) {
  return [scale,
          guided = with_rule(std::make_shared<const Cfg>(CfgOptions{scale, branches}))](Predictor predictor) {
    if (!predictor.model->info().embedded_guidance) return guided(predictor);
    predictor.embedded_guidance = scale;
    return predictor;
  };
}

/// Returns the predictor with one adapter at another scale.
inline PredictorChange with_adapter(std::string name, double scale) {
  return [name = std::move(name), scale](Predictor predictor) {
    predictor.adapters[name] = scale;
    return predictor;
  };
}

/// Returns the predictor on another model of the same latents. Adapters belong to the model they were made
/// for.
inline PredictorChange with_model(std::shared_ptr<const Model> model) {
  return [model = std::move(model)](Predictor predictor) {
    predictor.model = model;
    predictor.adapters.clear();
    if (!model->info().embedded_guidance) predictor.embedded_guidance.reset();
    if (model->info().attention_layers == 0) predictor.attention = {};
    return predictor;
  };
}

/// Returns the predictor with its prompt changed, after whatever already changes it.
inline PredictorChange with_condition(std::function<Prompt(const Prompt&)> change) {
  return [change = std::move(change)](Predictor predictor) {
    predictor.condition = [before = predictor.condition, change](const Prompt& prompt) {
      return change(before ? before(prompt) : prompt);
    };
    return predictor;
  };
}

/// Returns one change after another.
inline PredictorChange operator|(PredictorChange first, PredictorChange second) {
  return [first = std::move(first), second = std::move(second)](const Predictor& predictor) {
    return second(first(predictor));
  };
}

}  // namespace glint
