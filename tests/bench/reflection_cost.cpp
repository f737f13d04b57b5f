// What a row of Z-Sampling costs beside a row of plain guidance, on the bundled model: whole runs,
// alternating, each pair judged by itself. `ratio` is the median over pairs of seconds per counted row,
// Z-Sampling's over CFG's; `cpu_ratio` that of the thread's own processor time, which a busy machine disturbs
// less.
#include <glint/bundle/bundle.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/core/schedule_flow.hpp>
#include <glint/sampling/sampler.hpp>
#include <glint/text/text_encoder.hpp>

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>

namespace glint {
namespace {

constexpr int kSteps = 8;

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// Seconds per row of one run.
struct Seconds {
  double wall, cpu;
};

double thread_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Seconds per_row(const Sampler& sampler, const SampleRequest& request) {
  const auto start = std::chrono::steady_clock::now();
  const double cpu = thread_seconds();
  const SampleResult result = sampler.sample(request);
  const double used = thread_seconds() - cpu;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const auto rows = static_cast<double>(result.usage.rows);
  return {seconds.count() / rows, used / rows};
}

/// `inverse` is Z-Sampling's inverse scale: 0 evaluates one branch there, 0.5 both, as plain guidance does.
void reflection_cost(benchmark::State& state, double inverse, int64_t batch) {
  at::set_num_threads(1);
  const Bundle bundle = Bundle::load(std::string(GLINT_SOURCE_DIR) + "/models/emoji-flow");
  const auto encoder = bundle.text_encoder();
  const auto& schedule = bundle.manifest().schedule;
  const auto sampler_of = [&](std::vector<StepMethod> steps) {
    const auto solver = builtins().solver({.name = "euler"});
    return Sampler({.predictor = {.model = bundle.model(), .rule = builtins().rule({"cfg", {{"scale", 3}}})},
                    .schedule = solver->schedule(schedule.flow, {.steps = kSteps}),
                    .solver = solver,
                    .step_methods = std::move(steps)});
  };
  const Sampler cfg = sampler_of({}),
                z = sampler_of({builtins().step({"z-sampling", {{"guidance_inverse", inverse}}})});
  const SampleRequest request{.prompt = {encoder->encode("a red star above a blue circle").conditioning,
                                         encoder->encode("").conditioning},
                              .batch = batch};
  per_row(cfg, request);
  per_row(z, request);

  std::vector<double> of_cfg, of_z, ratios, cpu_ratios;
  for (auto _ : state) {
    // Every other pair begins with the other one, so that drift of the machine cancels.
    const bool cfg_first = ratios.size() % 2 == 0;
    const Seconds first = per_row(cfg_first ? cfg : z, request),
                  second = per_row(cfg_first ? z : cfg, request);
    const Seconds &plain = cfg_first ? first : second, &reflected = cfg_first ? second : first;
    of_cfg.push_back(plain.wall);
    of_z.push_back(reflected.wall);
    ratios.push_back(reflected.wall / plain.wall);
    cpu_ratios.push_back(reflected.cpu / plain.cpu);
    state.SetIterationTime(of_z.back());
  }
  state.counters["cfg_row_us"] = 1e6 * median(of_cfg);
  state.counters["z_row_us"] = 1e6 * median(of_z);
  state.counters["ratio"] = median(ratios);
  state.counters["cpu_ratio"] = median(cpu_ratios);
}

const bool kRegistered = [] {
  for (const auto& [name, inverse] : {std::pair{"one_branch", 0.0}, {"both_branches", 0.5}})
    for (int64_t batch : {1, 4})
      benchmark::RegisterBenchmark(fmt::format("reflection_cost/{}/batch:{}", name, batch).c_str(),
                                   reflection_cost, inverse, batch)
          ->UseManualTime()
          ->Unit(benchmark::kMicrosecond)
          ->Iterations(20);
  return true;
}();

}  // namespace
}  // namespace glint
