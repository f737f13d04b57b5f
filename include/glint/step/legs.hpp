// Ways to make a leg of a reflection from the run's own: another guidance scale, adapters, model, or prompt.
#pragma once

#include <glint/guidance/cfg.hpp>
#include <glint/step/reflect.hpp>

#include <memory>
#include <utility>

namespace glint {

/// Returns the run's leg as it is.
inline LegTransform same_leg() {
  return [](const Leg& leg) { return leg; };
}

/// Returns the leg with another rule, inside the filters of its own.
inline LegTransform with_rule(std::shared_ptr<const GuidanceRule> rule) {
  return [rule = std::move(rule)](Leg leg) {
    leg.rule = leg.rule->refiltered(rule);
    return leg;
  };
}

/// Returns the leg at another guidance scale: of CFG, or the input of a guidance-distilled model.
inline LegTransform with_guidance(double scale, Branches branches = Branches::Needed) {
  return [scale, guided = with_rule(std::make_shared<const Cfg>(CfgOptions{scale, branches}))](Leg leg) {
    if (!leg.model->info().embedded_guidance) return guided(leg);
    leg.embedded_guidance = scale;
    return leg;
  };
}

/// Returns the leg with one adapter at another scale.
inline LegTransform with_adapter(std::string name, double scale) {
  return [name = std::move(name), scale](Leg leg) {
    leg.adapters[name] = scale;
    return leg;
  };
}

/// Returns the leg on another model of the same latents. Adapters belong to the model they were made for.
inline LegTransform with_model(std::shared_ptr<const Model> model) {
  return [model = std::move(model)](Leg leg) {
    leg.model = model;
    leg.adapters.clear();
    if (!model->info().embedded_guidance) leg.embedded_guidance.reset();
    if (model->info().attention_layers == 0) leg.attention = {};
    return leg;
  };
}

/// Returns the leg with its prompt changed, after whatever already changes it.
inline LegTransform with_condition(std::function<Prompt(const Prompt&)> change) {
  return [change = std::move(change)](Leg leg) {
    leg.condition = [before = leg.condition, change](const Prompt& prompt) {
      return change(before ? before(prompt) : prompt);
    };
    return leg;
  };
}

/// Returns one change after another.
inline LegTransform operator|(LegTransform first, LegTransform second) {
  return
      [first = std::move(first), second = std::move(second)](const Leg& leg) { return second(first(leg)); };
}

}  // namespace glint
