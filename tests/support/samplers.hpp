// Small models and samplers the tests share.
#pragma once

#include <glint/sampling/sampler.hpp>
#include <glint/solver/first_order.hpp>

#include <memory>

namespace glint::test {

/// A model that answers every branch with function(x, level).
std::shared_ptr<const Model> model_of(Parameterization p, NoiseKind kind,
                                      std::function<at::Tensor(const at::Tensor&, const Level&)> function);

Sampler sampler_of(std::shared_ptr<const Model> model, NoiseSchedule schedule,
                   std::shared_ptr<const Solver> solver = std::make_shared<Euler>(), double guidance = 1.0,
                   std::vector<StepMethod> methods = {});

/// Largest absolute difference, relative to the largest absolute value of `expected`.
double relative_error(const at::Tensor& actual, const at::Tensor& expected);

}  // namespace glint::test
