// A run depends on its request alone: not on its batch, on runs before it, or on runs beside it.
#include "tests/support/catch.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

#include <thread>

namespace glint {
namespace GLINT_TEST_FILE {

using test::prompt_of;
using test::schedule_of;
using test::token_model;

constexpr int kSteps = 6;

Sampler sampler_with(NoiseKind kind, const std::shared_ptr<const Solver>& solver) {
  return test::sampler_of(token_model(kind), schedule_of(kind, kSteps, *solver), solver, 3.0,
                          {test::reflection({{"stop", 0.5}})});
}

SampleRequest request_of(uint64_t seed, int64_t batch = 1) {
  return {.prompt = prompt_of(), .seed = seed, .batch = batch, .latent_shape = {4, 8, 8}};
}

TEST_CASE("A sample is the same in a batch as alone, for every solver", "[property]") {
  for (NoiseKind kind : test::kKinds) {
    for (const auto& [name, solver] : test::solvers_for(kind)) {
      const Sampler sampler = sampler_with(kind, solver);
      const at::Tensor batch = sampler.sample(request_of(11, 4)).latents;
      CAPTURE(enum_name(kind), name);
      for (int64_t b = 0; b < 4; ++b)
        CHECK(at::equal(batch.slice(0, b, b + 1),
                        sampler.sample(request_of(11 + static_cast<uint64_t>(b))).latents));
      CHECK_FALSE(at::equal(batch[0], batch[1]));
    }
  }
}

TEST_CASE("A sampler keeps nothing from one run to the next", "[property]") {
  for (NoiseKind kind : test::kKinds) {
    for (const auto& [name, solver] : test::solvers_for(kind)) {
      const Sampler sampler = sampler_with(kind, solver);
      const at::Tensor first = sampler.sample(request_of(3, 2)).latents;
      sampler.sample(request_of(99, 3));
      CAPTURE(enum_name(kind), name);
      CHECK(at::equal(first, sampler.sample(request_of(3, 2)).latents));
    }
  }
}

TEST_CASE("One sampler serves four threads at once, and each gets what it would get alone", "[property]") {
  for (NoiseKind kind : test::kKinds) {
    for (const auto& [name, solver] : test::solvers_for(kind)) {
      const Sampler sampler = sampler_with(kind, solver);
      std::vector<at::Tensor> together(4);
      {
        std::vector<std::jthread> threads;
        for (uint64_t seed = 0; seed < 4; ++seed)
          threads.emplace_back([&, seed] { together[seed] = sampler.sample(request_of(seed)).latents; });
      }
      CAPTURE(enum_name(kind), name);
      for (uint64_t seed = 0; seed < 4; ++seed)
        CHECK(at::equal(together[seed], sampler.sample(request_of(seed)).latents));
    }
  }
}

TEST_CASE("Nothing a run is given is written into", "[property]") {
  for (NoiseKind kind : test::kKinds) {
    for (const auto& [name, solver] : test::solvers_for(kind)) {
      const NoiseSchedule plain = schedule_of(kind, kSteps, *solver);
      for (double scale : {1.0, 0.9}) {
        const NoiseSchedule grid(kind, plain.levels(), plain.train_steps(), scale);
        const at::Tensor noise = test::latents(), prediction = test::latents(2, 8);
        const at::Tensor noise_before = noise.clone(), prediction_before = prediction.clone();
        const Prompt prompt = prompt_of();
        // The model answers with a tensor it keeps.
        const auto model = test::model_of(test::output_of(kind), kind,
                                          [&](const at::Tensor&, const Level&) { return prediction; });
        for (double guidance : {1.0, 3.0}) {
          const SampleResult result =
              test::sampler_of(model, grid, solver, guidance, {test::reflection()})
                  .sample({.prompt = prompt, .noise = noise, .keep_trajectory = true});
          CAPTURE(enum_name(kind), name, scale, guidance);
          CHECK(at::equal(noise, noise_before));
          CHECK(at::equal(prediction, prediction_before));
          CHECK(test::token_of(prompt.cond) == 0.7);
          CHECK(result.latents.data_ptr<double>() != noise.data_ptr<double>());
          CHECK(result.latents.data_ptr<double>() != prediction.data_ptr<double>());
        }
      }
    }
  }
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
