// What the sampler's loop costs over a model that answers at once, on latents [2,4,128,128]. Compiled over
// both tensors, for tools/bench/tensors.py, which runs them in turn.
//
// Reads a line "KIND SOLVER METHOD...": the kind of noise, vp or flow, the solver, and rules, filters and
// strategies, each as NAME[:key=value,...]. Answers with CPU microseconds per step and the mean
// of |latents|.
#include <glint/catalog/registry.hpp>
#include <glint/core/rng.hpp>
#include <glint/core/schedule_flow.hpp>
#include <glint/core/schedule_vp.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/model/callable_model.hpp>
#include <glint/sampling/sampler.hpp>

#include <cstdio>
#include <ctime>
#include <iostream>
#include <sstream>
#include <string>

namespace glint {
namespace {

constexpr int kSteps = 20;

void add(SamplerParts& parts, const Choice& choice) {
  const Product product = builtins().make(choice);
  if (const auto* rule = std::get_if<std::shared_ptr<const GuidanceRule>>(&product))
    parts.predictor.rule = *rule;
  else if (const auto* filter = std::get_if<std::shared_ptr<const GuidanceFilter>>(&product))
    parts.predictor.filters.push_back(*filter);
  else if (const auto* step = std::get_if<StepMethod>(&product))
    parts.step_methods.push_back(*step);
  else if (const auto* noise = std::get_if<std::shared_ptr<const NoiseStrategy>>(&product))
    parts.noise_strategies.push_back(*noise);
  else
    fail(ErrorCode::InvalidArgument, "{} is no rule, filter or strategy", choice.name);
}

Sampler sampler_of(std::istream& words) {
  std::string word;
  words >> word;
  const bool flow = word == "flow";
  const std::vector<int64_t> shape{4, 128, 128};
  const Tensor cond = NoiseStream(2, 2).normal(shape), uncond = NoiseStream(3, 2).normal(shape);
  const auto model = std::make_shared<CallableModel>(
      ModelInfo{.name = "null",
                .parameterization = flow ? Parameterization::Velocity : Parameterization::Epsilon,
                .noise_kind = flow ? NoiseKind::Flow : NoiseKind::VariancePreserving,
                .latent_shape = shape},
      [cond, uncond](const ModelInput& in) {
        std::vector<Tensor> outputs;
        for (const Conditioning* branch : in.branches)
          outputs.push_back(branch->tokens.item<double>() > 0.0 ? cond : uncond);
        return outputs;
      });
  words >> word;
  const auto solver = builtins().solver(parse_choice(word));
  const GridOptions grid{.steps = kSteps};
  SamplerParts parts{
      .predictor = Predictor{.model = model, .rule = std::make_shared<Cfg>(5.0)},
      .schedule = flow ? solver->schedule(FlowTraining{}, grid) : solver->schedule(VpTraining{}, grid),
      .solver = solver};
  while (words >> word) add(parts, parse_choice(word));
  return Sampler(std::move(parts));
}

void measure(const std::string& line) {
  std::istringstream words(line);
  const Sampler sampler = sampler_of(words);
  const SampleRequest request{.prompt = {Conditioning{.tokens = at::full({1, 1, 1}, 1.0)},
                                         Conditioning{.tokens = at::full({1, 1, 1}, -1.0)}},
                              .batch = 2};
  const double mean = sampler.sample(request).latents.abs().mean().item<double>();  // and warms up
  const std::clock_t cpu = std::clock();
  sampler.sample(request);
  const double used = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
  std::printf("%.3f %.9g\n", 1e6 * used / kSteps, mean);
  std::fflush(stdout);
}

}  // namespace
}  // namespace glint

int main() {
  try {
    for (std::string line; std::getline(std::cin, line);) glint::measure(line);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "null_model: %s\n", error.what());
    return 1;
  }
}
