// Grids, models and observers of the tests of the core. The models use nothing but + and *, so that a batch
// computes the bits its samples compute alone.
#pragma once

#include <glint/catalog/registry.hpp>
#include <glint/core/schedule_flow.hpp>
#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/lcm.hpp>
#include <glint/solver/unipc.hpp>

#include "tests/support/samplers.hpp"
#include "tests/support/tensors.hpp"

#include <atomic>
#include <string>
#include <vector>

namespace glint::test {

inline NoiseSchedule schedule_of(NoiseKind kind, int steps, const Solver& solver = Euler()) {
  return kind == NoiseKind::Flow ? solver.schedule(FlowTraining{}, {.steps = steps})
                                 : solver.schedule(VpTraining{}, {.steps = steps});
}

/// What the models of this file predict on a schedule of that kind.
inline Parameterization output_of(NoiseKind kind) {
  return kind == NoiseKind::Flow ? Parameterization::Velocity : Parameterization::Epsilon;
}

/// A prompt of one scalar token, by which the models of this file tell the branches apart.
inline Prompt prompt_of(double cond = 0.7, double uncond = -0.2) {
  return {{.tokens = at::full({1, 1, 1}, cond, at::kDouble)},
          {.tokens = at::full({1, 1, 1}, uncond, at::kDouble)}};
}

inline double token_of(const Conditioning& conditioning) { return conditioning.tokens.item<double>(); }

/// Answers each branch with slope x + token; slope 0 makes the prediction constant. Counts its calls if asked
/// to.
inline std::shared_ptr<const Model> token_model(NoiseKind kind, double slope = 0.3,
                                                std::atomic<int>* calls = nullptr) {
  ModelInfo info{.name = "test", .parameterization = output_of(kind), .noise_kind = kind};
  return std::make_shared<CallableModel>(std::move(info), [slope, calls](const ModelInput& in) {
    if (calls) ++*calls;
    std::vector<at::Tensor> outputs;
    for (const Conditioning* branch : in.branches) outputs.push_back(in.x.mul(slope).add_(token_of(*branch)));
    return outputs;
  });
}

/// Some reflection, by name, so that only the tests of a strategy are compiled again when its header changes.
inline StepMethod reflection(OptionValues options = {}) {
  return builtins().step({.name = "z-sampling", .options = std::move(options)});
}

struct NamedSolver {
  const char* name;
  std::shared_ptr<const Solver> solver;
};

/// Every solver that runs on that kind of noise, the stochastic ones too.
inline std::vector<NamedSolver> solvers_for(NoiseKind kind) {
  std::vector<NamedSolver> all = {
      {"ddim", std::make_shared<Ddim>()},        {"ddim, eta 1", std::make_shared<Ddim>(EtaOptions{1.0})},
      {"euler", std::make_shared<Euler>()},      {"euler-ancestral", std::make_shared<EulerAncestral>()},
      {"dpmpp-2m", std::make_shared<Dpmpp2m>()}, {"dpmpp-2m-sde", std::make_shared<Dpmpp2mSde>()},
      {"unipc", std::make_shared<UniPc>()},      {"lcm", std::make_shared<Lcm>()}};
  if (kind == NoiseKind::Flow) all.push_back({"flow-euler", std::make_shared<FlowEuler>()});
  return all;
}

constexpr NoiseKind kKinds[] = {NoiseKind::VariancePreserving, NoiseKind::Flow};

/// Float64 latents [batch,4,8,8]: 256 values a sample, so that vectorized loops have no remainder.
inline at::Tensor latents(int64_t batch = 2, uint64_t seed = 7) {
  return NoiseStream(seed, batch).normal({4, 8, 8}, at::kDouble);
}

constexpr int kRunSteps = 5;

/// A short run of the model above from fixed noise.
inline SampleResult run(NoiseKind kind, std::shared_ptr<const GuidanceRule> rule,
                        std::vector<std::shared_ptr<const NoiseStrategy>> noise, std::vector<StepMethod> step,
                        int64_t batch = 2, double slope = 0.3) {
  return Sampler({.predictor = {.model = token_model(kind, slope), .rule = std::move(rule)},
                  .schedule = schedule_of(kind, kRunSteps),
                  .solver = std::make_shared<Euler>(),
                  .noise_strategies = std::move(noise),
                  .step_methods = std::move(step)})
      .sample({.prompt = prompt_of(), .noise = latents(batch)});
}

/// Counts what it is told, and stops the run at the ask or step it is given.
struct Watcher : Observer {
  int stop_at_ask = -1, stop_at_step = -1;
  int asks = 0, steps = 0;
  std::vector<std::string> stages = {};

  bool keep_going() override { return asks++ != stop_at_ask; }
  void on_stage(std::string_view name, int, int) override { stages.emplace_back(name); }
  bool on_step(const StepEvent&) override { return steps++ != stop_at_step; }
};

}  // namespace glint::test
