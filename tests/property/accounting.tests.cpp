// What a run says it cost is what it cost, in calls, rows, seconds and memory.
#include <glint/solver/dpmpp_2m.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/counting_allocator.hpp"
#include "tests/support/runs.hpp"

#include <chrono>
#include <thread>

namespace glint {
namespace GLINT_TEST_FILE {

using test::CountingAllocator;
using test::prompt_of;
using test::schedule_of;
using test::token_model;

constexpr NoiseKind kFlow = NoiseKind::Flow;

TEST_CASE("Usage by stage adds up to the usage of the run, and seconds are those on the clock",
          "[property]") {
  // Sleeps, and knows how long it slept.
  struct Clock {
    double slept = 0.0;
    static double now() {
      return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    }
    void nap() {
      const double start = now();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      slept += now() - start;
    }
  } clock;
  struct Times : Observer {
    Clock& clock;
    std::vector<double> told, slept;
    explicit Times(Clock& c) : clock(c) {}
    bool on_step(const StepEvent& e) override {
      told.push_back(e.usage.seconds);
      slept.push_back(clock.slept);
      return clock.nap(), true;
    }
  } times(clock);
  const auto model =
      test::model_of(Parameterization::Velocity, kFlow,
                     [&](const at::Tensor& x, const Level&) { return clock.nap(), x.mul(0.3); });
  const auto z = test::reflection({{"repeats", 2}, {"stop", 0.5}});
  const Sampler sampler = test::sampler_of(model, schedule_of(kFlow, 6), std::make_shared<Euler>(), 3.0, {z});
  const double start = Clock::now();
  const SampleResult result =
      sampler.sample({.prompt = prompt_of(), .batch = 2, .latent_shape = {4, 8, 8}, .observer = &times});
  const double elapsed = Clock::now() - start;

  Usage sum;
  for (const auto& [name, usage] : result.by_stage) {
    sum.calls += usage.calls;
    sum.rows += usage.rows;
    sum.seconds += usage.seconds;
    CHECK(usage.seconds >= 0.001 * static_cast<double>(usage.calls));  // what the model slept
  }
  CHECK(result.by_stage.size() == 2);
  CHECK(sum.calls == result.usage.calls);
  CHECK(sum.rows == result.usage.rows);
  CHECK(std::abs(sum.seconds - result.usage.seconds) < 1e-3);
  CHECK(result.usage.seconds <= elapsed);
  // Naps between the calls count as well as those within; a microsecond covers the sums of doubles.
  CHECK(result.usage.seconds >= clock.slept - 1e-6);
  // The seconds an observer is told hold every call made so far.
  REQUIRE(times.told.size() == 6);
  for (size_t i = 0; i < 6; ++i) CHECK(times.told[i] >= times.slept[i] - 1e-6);
  CHECK(std::is_sorted(times.told.begin(), times.told.end()));
  CHECK(times.told.back() <= result.usage.seconds);
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
  const at::Tensor noise = test::latents(), prediction = test::latents(2, 8);
  const auto model = test::model_of(Parameterization::Velocity, kFlow,
                                    [&](const at::Tensor&, const Level&) { return prediction; });
  const Sampler sampler = test::sampler_of(model, schedule_of(kFlow, steps, *solver), solver, guidance);
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
      {"ddim", 1},         {"ddim, eta 1", 2},   {"euler", 1}, {"euler-ancestral", 2}, {"dpmpp-2m", 2},
      {"dpmpp-2m-sde", 3}, {"unipc", 3},         {"lcm", 2},   {"flow-euler", 1},      {"deis", 2},
      {"dpmpp-3m-sde", 6}, {"res-multistep", 2}, {"er-sde", 5}};
  for (const auto& [name, solver] : test::solvers_for(kFlow, false)) {
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
  const Sampler sampler = test::sampler_of(token_model(kFlow, 0.0, &calls), schedule_of(kFlow, 9),
                                           std::make_shared<Dpmpp2m>(), 2.0);
  const SampleResult result = sampler.sample({.prompt = prompt_of(), .batch = 3, .latent_shape = {4, 8, 8}});
  CHECK(result.usage.calls == calls);
  CHECK(result.usage.calls == 9);
  CHECK(result.usage.rows == 9 * 3 * 2);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
