// A run can be stopped at every point where it asks, or fail at every point where it calls out, and what it
// used works as before.
#include <glint/solver/unipc.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/errors.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;
using test::failure;
using test::prompt_of;
using test::Watcher;

constexpr NoiseKind kFlow = NoiseKind::Flow;
constexpr int kSteps = 4;
constexpr int kCalls =
    kSteps + (kSteps - 1) * 4;  // each reflection: one denoise and three fixed-point iterations

// A model that checks it is only called after a fresh ask, and fails at the call it is told to.
struct Fixture {
  std::atomic<int> calls = 0;
  int fail_at = -1;
  Watcher* watcher = nullptr;
  Sampler sampler;

  explicit Fixture(std::shared_ptr<const Solver> solver = std::make_shared<UniPc>())
      : sampler(test::sampler_of(
            test::model_of(Parameterization::Velocity, kFlow,
                           [this](const at::Tensor& x, const Level&) {
                             if (calls++ == fail_at) throw std::runtime_error("the engine broke");
                             if (watcher) CHECK(watcher->asks == calls);
                             return x.mul(0.3);
                           }),
            test::schedule_of(kFlow, kSteps, *solver), solver, 1.0,
            {test::reflection(
                {{"guidance_inverse", 1.0}, {"evaluation", "fixed-point"}, {"iterations", 3}})})) {}

  SampleResult sample(Observer* observer = nullptr) {
    calls = 0;
    watcher = dynamic_cast<Watcher*>(observer);
    return sampler.sample(
        {.prompt = prompt_of(), .seed = 5, .latent_shape = {4, 8, 8}, .observer = observer});
  }
};

TEST_CASE("The observer is asked before every model call, those inside reflections too", "[property]") {
  Fixture f;
  Watcher watcher;
  const SampleResult result = f.sample(&watcher);
  CHECK(f.calls == kCalls);
  CHECK(watcher.asks == kCalls);
  CHECK(watcher.steps == kSteps);
  CHECK(result.usage.calls == kCalls);
}

TEST_CASE("A run is cancelled at any ask, before the call, and the sampler stays usable", "[property]") {
  Fixture f;
  const at::Tensor expected = f.sample().latents;
  for (int k = 0; k < kCalls; ++k) {
    Watcher watcher;
    watcher.stop_at_ask = k;
    CAPTURE(k);
    CHECK_THAT(failure([&] { f.sample(&watcher); }), Contains("Cancelled: the run was cancelled at step"));
    CHECK(f.calls == k);
    CHECK(watcher.asks == k + 1);
    CHECK(at::equal(f.sample().latents, expected));
  }
}

TEST_CASE("A run is cancelled after any step, and the sampler stays usable", "[property]") {
  Fixture f;
  const at::Tensor expected = f.sample().latents;
  for (int k = 0; k < kSteps; ++k) {
    Watcher watcher;
    watcher.stop_at_step = k;
    CHECK(failure([&] { f.sample(&watcher); }) ==
          message("Cancelled: the run was cancelled after step {} of 4", k));
    CHECK(watcher.steps == k + 1);
    CHECK(at::equal(f.sample().latents, expected));
  }
}

/// The message of the exception that an Error carries from the host's code.
std::string original(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::Internal);
    try {
      std::rethrow_if_nested(error);
    } catch (const std::runtime_error& inner) {
      CHECK(error.what() == std::string("sample: ") + inner.what());
      return inner.what();
    }
  }
  return "none";
}

TEST_CASE("What a model throws reaches the caller inside an Error, and the sampler stays usable",
          "[property]") {
  Fixture f;
  const at::Tensor expected = f.sample().latents;
  for (int k = 0; k < kCalls; ++k) {
    f.fail_at = k;
    CHECK(original([&] { f.sample(); }) == "the engine broke");
    f.fail_at = -1;
    CHECK(at::equal(f.sample().latents, expected));
  }
}

TEST_CASE("What an observer throws reaches the caller inside an Error, and the sampler stays usable",
          "[property]") {
  struct Thrower : Observer {
    int left;
    explicit Thrower(int count) : left(count) {}
    void tick() {
      if (left-- == 0) throw std::runtime_error("the window closed");
    }
    bool keep_going() override { return tick(), true; }
    void on_stage(std::string_view, int, int) override { tick(); }
    bool on_step(const StepEvent&) override { return tick(), true; }
  };
  Fixture f;
  const at::Tensor expected = f.sample().latents;
  const int told =
      kCalls + kSteps + 1 + (kSteps - 1);  // asks, steps, and stages: the run's and one per reflection
  for (int k = 0; k < told; ++k) {
    Thrower thrower(k);
    CHECK(original([&] { f.sample(&thrower); }) == "the window closed");
    CHECK(at::equal(f.sample().latents, expected));
  }
  Thrower patient(told);
  CHECK_NOTHROW(f.sample(&patient));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
