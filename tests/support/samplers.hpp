// Small models and samplers the tests share.
#pragma once

#include <glint/guidance/cfg.hpp>
#include <glint/model/callable_model.hpp>
#include <glint/sampling/sampler.hpp>
#include <glint/solver/first_order.hpp>

#include <memory>
#include <utility>

namespace glint::test {

/// A model that answers every branch with function(x, level).
inline std::shared_ptr<const Model> model_of(
    Parameterization p, NoiseKind kind, std::function<at::Tensor(const at::Tensor&, const Level&)> function) {
  ModelInfo info{.name = "test", .parameterization = p, .noise_kind = kind, .gradients = true};
  return std::make_shared<CallableModel>(std::move(info),
                                         [function = std::move(function)](const ModelInput& in) {
                                           std::vector<at::Tensor> outputs;
                                           for (size_t b = 0; b < in.branches.size(); ++b)
                                             outputs.push_back(function(in.x, in.level));
                                           return outputs;
                                         });
}

inline Sampler sampler_of(std::shared_ptr<const Model> model, NoiseSchedule schedule,
                          std::shared_ptr<const Solver> solver = std::make_shared<Euler>(),
                          double guidance = 1.0, std::vector<StepMethod> methods = {}) {
  return Sampler({.predictor = {.model = std::move(model), .rule = std::make_shared<Cfg>(guidance)},
                  .schedule = std::move(schedule),
                  .solver = std::move(solver),
                  .step_methods = std::move(methods)});
}

/// Largest absolute difference, relative to the largest absolute value of `expected`.
inline double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  const double difference = actual.to(at::kDouble).sub(expected.to(at::kDouble)).abs().max().item<double>();
  return difference / expected.abs().max().item<double>();
}

}  // namespace glint::test
