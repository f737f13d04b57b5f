// Grids, models and observers of the tests of the core. The models use nothing but + and *, so that a batch
// computes the bits its samples compute alone.
#pragma once

#include <glint/catalog/option_values.hpp>

#include "tests/support/samplers.hpp"

#include <atomic>
#include <string>
#include <vector>

namespace glint::test {

NoiseSchedule schedule_of(NoiseKind kind, int steps, const Solver& solver = Euler());

/// What the models of this file predict on a schedule of that kind.
Parameterization output_of(NoiseKind kind);

/// A prompt of one scalar token, by which the models of this file tell the branches apart.
Prompt prompt_of(double cond = 0.7, double uncond = -0.2);

double token_of(const Conditioning& conditioning);

/// Answers each branch with slope x + token; slope 0 makes the prediction constant. Counts its calls if asked
/// to.
std::shared_ptr<const Model> token_model(NoiseKind kind, double slope = 0.3,
                                         std::atomic<int>* calls = nullptr);

/// Some reflection, by name, so that only the tests of a strategy are compiled again when its header changes.
StepMethod reflection(OptionValues options = {});

struct NamedSolver {
  const char* name;
  std::shared_ptr<const Solver> solver;
};

/// Every solver that runs on that kind of noise, the stochastic ones too; unless `several_predictions`, only
/// those that predict once a step.
std::vector<NamedSolver> solvers_for(NoiseKind kind, bool several_predictions = true);

constexpr NoiseKind kKinds[] = {NoiseKind::VariancePreserving, NoiseKind::Flow};

/// Float64 latents [batch,4,8,8]: 256 values a sample, so that vectorized loops have no remainder.
at::Tensor latents(int64_t batch = 2, uint64_t seed = 7);

constexpr int kRunSteps = 5;

/// A short run of the model above from fixed noise.
SampleResult run(NoiseKind kind, std::shared_ptr<const GuidanceRule> rule,
                 std::vector<std::shared_ptr<const NoiseStrategy>> noise, std::vector<StepMethod> step,
                 int64_t batch = 2, double slope = 0.3);

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
