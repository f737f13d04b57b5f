#include "tests/support/samplers.hpp"
#include "tests/support/tensors.hpp"

#include <glint/guidance/cfg.hpp>
#include <glint/model/callable_model.hpp>

#include <utility>
#include <vector>

namespace glint::test {

std::shared_ptr<const Model> model_of(Parameterization p, NoiseKind kind,
                                      std::function<at::Tensor(const at::Tensor&, const Level&)> function) {
  ModelInfo info{.name = "test", .parameterization = p, .noise_kind = kind, .gradients = true};
  return std::make_shared<CallableModel>(std::move(info),
                                         [function = std::move(function)](const ModelInput& in) {
                                           std::vector<at::Tensor> outputs;
                                           for (size_t b = 0; b < in.branches.size(); ++b)
                                             outputs.push_back(function(in.x, in.level));
                                           return outputs;
                                         });
}

Sampler sampler_of(std::shared_ptr<const Model> model, NoiseSchedule schedule,
                   std::shared_ptr<const Solver> solver, double guidance, std::vector<StepMethod> methods) {
  return Sampler({.predictor = Predictor{.model = std::move(model), .rule = std::make_shared<Cfg>(guidance)},
                  .schedule = std::move(schedule),
                  .solver = std::move(solver),
                  .step_methods = std::move(methods)});
}

double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  const double difference = actual.to(at::kDouble).sub(expected.to(at::kDouble)).abs().max().item<double>();
  return difference / expected.abs().max().item<double>();
}

}  // namespace glint::test
