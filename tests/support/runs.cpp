#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

#include <glint/catalog/registry.hpp>
#include <glint/core/schedule_flow.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/model/callable_model.hpp>
#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/lcm.hpp>
#include <glint/solver/unipc.hpp>

#include <utility>

namespace glint::test {

NoiseSchedule schedule_of(NoiseKind kind, int steps, const Solver& solver) {
  return kind == NoiseKind::Flow ? solver.schedule(FlowTraining{}, {.steps = steps})
                                 : solver.schedule(VpTraining{}, {.steps = steps});
}

Parameterization output_of(NoiseKind kind) {
  return kind == NoiseKind::Flow ? Parameterization::Velocity : Parameterization::Epsilon;
}

Prompt prompt_of(double cond, double uncond) {
  return {{.tokens = at::full({1, 1, 1}, cond, at::kDouble)},
          {.tokens = at::full({1, 1, 1}, uncond, at::kDouble)}};
}

double token_of(const Conditioning& conditioning) { return conditioning.tokens.item<double>(); }

std::shared_ptr<const Model> token_model(NoiseKind kind, double slope, std::atomic<int>* calls) {
  ModelInfo info{.name = "test", .parameterization = output_of(kind), .noise_kind = kind};
  return std::make_shared<CallableModel>(std::move(info), [slope, calls](const ModelInput& in) {
    if (calls) ++*calls;
    std::vector<at::Tensor> outputs;
    for (const Conditioning* branch : in.branches) outputs.push_back(in.x.mul(slope).add_(token_of(*branch)));
    return outputs;
  });
}

StepMethod reflection(OptionValues options) {
  return builtins().step({.name = "z-sampling", .options = std::move(options)});
}

std::vector<NamedSolver> solvers_for(NoiseKind kind, bool several_predictions) {
  std::vector<NamedSolver> all = {
      {"ddim", std::make_shared<Ddim>()},        {"ddim, eta 1", std::make_shared<Ddim>(DdimOptions{1.0})},
      {"euler", std::make_shared<Euler>()},      {"euler-ancestral", std::make_shared<EulerAncestral>()},
      {"dpmpp-2m", std::make_shared<Dpmpp2m>()}, {"dpmpp-2m-sde", std::make_shared<Dpmpp2mSde>()},
      {"unipc", std::make_shared<UniPc>()},      {"lcm", std::make_shared<Lcm>()}};
  if (kind == NoiseKind::Flow) all.push_back({"flow-euler", std::make_shared<FlowEuler>()});
  for (const char* name : {"deis", "dpmpp-3m-sde", "res-multistep", "er-sde"})
    all.push_back({name, builtins().solver({name})});
  if (!several_predictions) return all;
  for (const char* name : {"heun", "dpm2", "dpmpp-sde", "res-2s"})
    all.push_back({name, builtins().solver({name})});
  all.push_back({"euler, churn", builtins().solver({"euler", {{"churn", 2.0}}})});
  all.push_back({"heun, churn", builtins().solver({"heun", {{"churn", 2.0}}})});
  all.push_back(
      {"restart", builtins().solver({"restart", {{"low", 0.3}, {"high", 2.0}, {"restart_steps", 2}}})});
  return all;
}

at::Tensor latents(int64_t batch, uint64_t seed) {
  return NoiseStream(seed, batch).normal({4, 8, 8}, at::kDouble);
}

SampleResult run(NoiseKind kind, std::shared_ptr<const GuidanceRule> rule,
                 std::vector<std::shared_ptr<const NoiseStrategy>> noise, std::vector<StepMethod> step,
                 int64_t batch, double slope) {
  return Sampler({.predictor = Predictor{.model = token_model(kind, slope), .rule = std::move(rule)},
                  .schedule = schedule_of(kind, kRunSteps),
                  .solver = std::make_shared<Euler>(),
                  .noise_strategies = std::move(noise),
                  .step_methods = std::move(step)})
      .sample({.prompt = prompt_of(), .noise = latents(batch)});
}

}  // namespace glint::test
