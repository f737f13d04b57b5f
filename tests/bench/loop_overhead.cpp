// What the sampler's loop costs beyond the tensor arithmetic of its solver: runs of a model that answers at
// once, against the same updates written out by hand, one after the other in one process. `ratio` is per
// step, whole runs included.
#include <glint/model/callable_model.hpp>
#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/unipc.hpp>

#include "tests/support/counting_allocator.hpp"
#include "tests/support/runs.hpp"

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace glint {
namespace {

constexpr int kSteps = 20;
constexpr size_t kLargeBytes = 64 * 1024;

/// The tensors the model answers with.
struct Answers {
  at::Tensor cond, uncond;
  double guidance;

  at::Tensor guided() const { return guidance == 1.0 ? cond : at::lerp(uncond, cond, guidance); }
};

// x' = (alpha'/alpha) x + (sigma' - sigma alpha'/alpha) eps
at::Tensor first_order_by_hand(const NoiseSchedule& g, at::Tensor x, const Answers& answers) {
  for (int i = 0; i < g.steps(); ++i) {
    const Level &from = g.level(i), &to = g.landing(i);
    const double kept = to.alpha / from.alpha;
    x = x.mul(kept).add_(answers.guided(), to.sigma - from.sigma * kept);
  }
  return x;
}

// x' = x + (sigma' - sigma) v
at::Tensor flow_euler_by_hand(const NoiseSchedule& g, at::Tensor x, const Answers& answers) {
  for (int i = 0; i < g.steps(); ++i) x = x.add(answers.guided(), g.level(i + 1).sigma - g.level(i).sigma);
  return x;
}

at::Tensor denoised_by_hand(const at::Tensor& x, const at::Tensor& eps, const Level& level) {
  return x.mul(1.0 / level.alpha).add_(eps, -level.sigma / level.alpha);
}

// x' = (sigma'/sigma) x - alpha' (e^-h - 1) (m0 + (m0 - m1) h / (2 h_prev)), first order at both ends
at::Tensor dpmpp_by_hand(const NoiseSchedule& g, at::Tensor x, const Answers& answers) {
  at::Tensor older;
  double h_previous = 0.0;
  for (int i = 0; i < g.steps(); ++i) {
    const Level &from = g.level(i), &to = g.level(i + 1);
    const at::Tensor m = denoised_by_hand(x, answers.guided(), from);
    const double h = std::log(to.alpha / to.sigma) - std::log(from.alpha / from.sigma);
    const double to_x0 = to.alpha * (1.0 - std::exp(-h));
    x = x.mul(to.sigma / from.sigma);
    if (i == 0 || i == g.steps() - 1) {
      x.add_(m, to_x0);
    } else {
      const double slope = 0.5 * h / h_previous;
      x.add_(m, to_x0 * (1.0 + slope)).add_(older, -to_x0 * slope);
    }
    older = m;
    h_previous = h;
  }
  return x;
}

// UniPC-2 (bh2) as in its header, its coefficients written out.
at::Tensor unipc_by_hand(const NoiseSchedule& g, at::Tensor x, const Answers& answers) {
  const auto h_at = [&](int i) { return g.level(i + 1).lambda() - g.level(i).lambda(); };
  at::Tensor start, m0, m1;  // where the step before began, its x0 estimate, and the one before that
  for (int i = 0; i < g.steps(); ++i) {
    const Level &from = g.level(i), &to = g.level(i + 1);
    const at::Tensor m = denoised_by_hand(x, answers.guided(), from);
    if (i > 0) {
      const Level& before = g.level(i - 1);
      const double h = h_at(i - 1), phi = std::expm1(-h), to_x0 = -from.alpha * phi;
      double of_older = 0.0, of_new = 0.5;
      if (i > 1) {
        const double r = -h_at(i - 2) / h, b1 = (phi / -h - 1.0) / phi,
                     b2 = 2.0 * ((phi / -h - 1.0) / -h - 0.5) / phi;
        const double rho = (b1 - b2) / (1.0 - r);
        of_older = rho / r;
        of_new = b1 - rho;
      }
      x = start.mul(from.sigma / before.sigma)
              .add_(m0, to_x0 * (1.0 - of_older - of_new))
              .add_(m, to_x0 * of_new);
      if (i > 1) x.add_(m1, to_x0 * of_older);
    }
    start = x;
    m1 = std::exchange(m0, m);
    const double h = h_at(i), to_x0 = -to.alpha * std::expm1(-h);
    x = x.mul(to.sigma / from.sigma);
    if (i == 0 || i == g.steps() - 1) {
      x.add_(m0, to_x0);
    } else {
      const double slope = -0.5 * h / h_at(i - 1);
      x.add_(m0, to_x0 * (1.0 - slope)).add_(m1, to_x0 * slope);
    }
  }
  return x;
}

using ByHand = at::Tensor (*)(const NoiseSchedule&, at::Tensor, const Answers&);

struct Case {
  const char* name;
  std::shared_ptr<const Solver> solver;
  NoiseKind kind;
  ByHand by_hand;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

template <typename Function>
double microseconds(Function&& function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

template <typename Function>
int64_t large_allocations(Function&& function) {
  const test::CountingAllocator::Scope scope(kLargeBytes);
  function();
  return scope.count();
}

void loop_overhead(benchmark::State& state, const Case& c, double guidance) {
  at::set_num_threads(1);
  const std::vector<int64_t> shape{4, 128, 128};
  const at::Tensor noise = NoiseStream(1, 2).normal(shape);
  const Answers answers{NoiseStream(2, 2).normal(shape), NoiseStream(3, 2).normal(shape), guidance};
  const auto model = std::make_shared<CallableModel>(
      ModelInfo{.parameterization = test::output_of(c.kind), .noise_kind = c.kind},
      [&](const ModelInput& in) {
        return in.branches.size() == 1 ? std::vector<at::Tensor>{answers.cond}
                                       : std::vector<at::Tensor>{answers.cond, answers.uncond};
      });
  const SampleRequest request{.prompt = test::prompt_of(), .noise = noise};
  const auto sampler_of = [&](int steps) {
    return test::sampler_of(model, test::schedule_of(c.kind, steps, *c.solver), c.solver, guidance);
  };
  const Sampler sampler = sampler_of(kSteps), longer = sampler_of(2 * kSteps);
  const auto loop = [&](const Sampler& s) { return s.sample(request).latents; };
  const auto hand = [&](const Sampler& s) { return c.by_hand(s.schedule(), noise, answers); };
  // Float32 rounds in another order where coefficients are grouped differently.
  if (!(test::relative_error(loop(sampler), hand(sampler)) < 1e-4))
    return state.SkipWithError("results differ");

  std::vector<double> of_loop, of_hand, ratios;
  for (auto _ : state) {
    of_loop.push_back(microseconds([&] { loop(sampler); }));
    of_hand.push_back(microseconds([&] { hand(sampler); }));
    ratios.push_back(of_loop.back() / of_hand.back());
    state.SetIterationTime(of_loop.back() * 1e-6);
  }
  const auto per_step = [&](auto&& run) {
    return static_cast<double>(large_allocations([&] { run(longer); }) -
                               large_allocations([&] { run(sampler); })) /
           kSteps;
  };
  state.counters["loop_us"] = median(of_loop) / kSteps;
  state.counters["hand_us"] = median(of_hand) / kSteps;
  state.counters["ratio"] = median(ratios);
  state.counters["ratio_of_best"] =
      *std::min_element(of_loop.begin(), of_loop.end()) / *std::min_element(of_hand.begin(), of_hand.end());
  // Allocations of 64 KiB and more: per step, from runs of 20 and 40 steps, and what a run of 20 has beside
  // those (below 0 where the first step needs less than the others).
  state.counters["loop_allocs"] = per_step(loop);
  state.counters["hand_allocs"] = per_step(hand);
  state.counters["run_allocs"] =
      static_cast<double>(large_allocations([&] { loop(sampler); })) - kSteps * per_step(loop);
}

const bool kRegistered = [] {
  const NoiseKind vp = NoiseKind::VariancePreserving;
  const Case cases[] = {{"euler", std::make_shared<Euler>(), vp, first_order_by_hand},
                        {"ddim", std::make_shared<Ddim>(), vp, first_order_by_hand},
                        {"dpmpp-2m", std::make_shared<Dpmpp2m>(), vp, dpmpp_by_hand},
                        {"unipc", std::make_shared<UniPc>(), vp, unipc_by_hand},
                        {"flow-euler", std::make_shared<FlowEuler>(), NoiseKind::Flow, flow_euler_by_hand}};
  for (const Case& c : cases)
    for (double guidance : {1.0, 5.0})
      benchmark::RegisterBenchmark(fmt::format("loop_overhead/{}/guidance:{}", c.name, guidance).c_str(),
                                   loop_overhead, c, guidance)
          ->UseManualTime()
          ->Unit(benchmark::kMicrosecond)
          ->Iterations(300);
  return true;
}();

}  // namespace
}  // namespace glint
