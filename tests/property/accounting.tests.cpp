// What a run says it cost is what it cost, in calls, rows, seconds and memory.
#include "tests/support/catch.hpp"
#include "tests/support/counting_allocator.hpp"
#include "tests/support/runs.hpp"

#include <chrono>
#include <thread>

namespace glint {
namespace {

using testing::CountingAllocator;
using testing::prompt_of;
using testing::schedule_of;
using testing::token_model;

constexpr NoiseKind kFlow = NoiseKind::Flow;

TEST_CASE("Usage by stage adds up to the usage of the run, and seconds are those on the clock",
          "[property]") {
  using namespace std::chrono_literals;
  using Clock = std::chrono::steady_clock;
  struct Times : Observer {
    std::vector<double> seconds;
    bool on_step(const StepEvent& e) override { return seconds.push_back(e.usage.seconds), true; }
  };
  const auto model =
      testing::model_of(Parameterization::Velocity, kFlow, [](const at::Tensor& x, const Level&) {
        std::this_thread::sleep_for(2ms);
        return x.mul(0.3);
      });
  const auto z = ZSampling::make({.reflect = {.repeats = 2, .window = {.stop = 0.5}}});
  const Sampler sampler =
      testing::sampler_of(model, schedule_of(kFlow, 6), std::make_shared<Euler>(), 3.0, {z});
  Times times;
  const auto start = Clock::now();
  const SampleResult result =
      sampler.sample({.prompt = prompt_of(), .batch = 2, .latent_shape = {4, 8, 8}, .observer = &times});
  const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();

  Usage sum;
  for (const auto& [name, usage] : result.by_stage) {
    sum.calls += usage.calls;
    sum.rows += usage.rows;
    sum.seconds += usage.seconds;
    CHECK(usage.seconds >= 0.002 * static_cast<double>(usage.calls));  // what the model slept
  }
  CHECK(result.by_stage.size() == 2);
  CHECK(sum.calls == result.usage.calls);
  CHECK(sum.rows == result.usage.rows);
  CHECK(std::abs(sum.seconds - result.usage.seconds) < 1e-3);
  CHECK(result.usage.seconds <= elapsed);
  CHECK(result.usage.seconds >= 0.002 * static_cast<double>(result.usage.calls));
  // The seconds an observer is told never fall, and hold every call made so far.
  REQUIRE(times.seconds.size() == 6);
  CHECK(std::is_sorted(times.seconds.begin(), times.seconds.end()));
  CHECK(times.seconds.front() >= 0.002 * 5);
  CHECK(times.seconds.back() <= result.usage.seconds);
}

struct Previewer : Observer {
  bool ask;
  explicit Previewer(bool asks) : ask(asks) {}
  bool on_step(const StepEvent& e) override {
    if (ask) last = e.denoised();
    return true;
  }
  at::Tensor last;
};

// Allocations of at least one latent in a run of that many steps.
int64_t allocations(const std::shared_ptr<const Solver>& solver, int steps, double guidance,
                    Observer* observer = nullptr) {
  const at::Tensor noise = testing::latents(), prediction = testing::latents(2, 8);
  const auto model = testing::model_of(Parameterization::Velocity, kFlow,
                                       [&](const at::Tensor&, const Level&) { return prediction; });
  const Sampler sampler =
      testing::sampler_of(model, schedule_of(kFlow, steps, solver->grid()), solver, guidance);
  const SampleRequest request{.prompt = prompt_of(), .noise = noise, .observer = observer};
  const CountingAllocator::Scope scope(noise.nbytes());
  sampler.sample(request);
  return scope.count();
}

TEST_CASE("A preview costs an allocation per step if asked for and nothing if not", "[property]") {
  Previewer silent(false), asking(true);
  const auto solver = std::make_shared<Euler>();
  const int64_t unwatched = allocations(solver, 6, 1.0);
  CHECK(allocations(solver, 6, 1.0, &silent) == unwatched);
  CHECK(allocations(solver, 6, 1.0, &asking) == unwatched + 6);
}

TEST_CASE("A step allocates what its update needs, the same at every step", "[property]") {
  // The new latents; the x0 estimate of multistep solvers and LCM's noise; the corrected latents of UniPC.
  const std::map<std::string, int> needed = {
      {"ddim", 1},         {"ddim, eta 1", 2}, {"euler", 1}, {"euler-ancestral", 2}, {"dpmpp-2m", 2},
      {"dpmpp-2m-sde", 3}, {"unipc", 3},       {"lcm", 2},   {"flow-euler", 1}};
  for (const auto& [name, solver] : testing::solvers_for(kFlow)) {
    for (double guidance : {1.0, 3.0}) {
      const int64_t short_run = allocations(solver, 10, guidance),
                    long_run = allocations(solver, 20, guidance);
      CAPTURE(name, guidance);
      // Guidance combines two predictions into a third tensor.
      CHECK(long_run - short_run == 10 * (needed.at(name) + (guidance == 1.0 ? 0 : 1)));
    }
  }
}

TEST_CASE("A model that is free costs calls and rows all the same", "[property]") {
  std::atomic<int> calls = 0;
  const Sampler sampler = testing::sampler_of(token_model(kFlow, 0.0, &calls), schedule_of(kFlow, 9),
                                              std::make_shared<Dpmpp2m>(), 2.0);
  const SampleResult result = sampler.sample({.prompt = prompt_of(), .batch = 3, .latent_shape = {4, 8, 8}});
  CHECK(result.usage.calls == calls);
  CHECK(result.usage.calls == 9);
  CHECK(result.usage.rows == 9 * 3 * 2);
}

}  // namespace
}  // namespace glint
