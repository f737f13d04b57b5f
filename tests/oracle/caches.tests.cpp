// Caches over steps against answers known beforehand: which steps run, what the others get, what stays exact.
#include <glint/cache/cfg_cache.hpp>
#include <glint/cache/spectrum.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/solver/first_order.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/runs.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;
using test::failure;
using test::kKinds;

std::shared_ptr<const StepCache> cache_of(const char* name, OptionValues options = {}) {
  return builtins().cache({name, std::move(options)});
}

/// What a cache made of one branch of `steps` steps, whose network answers y(i) to the input x(i).
struct Trace {
  std::vector<int> ran;
  std::vector<double> outputs;
};

Trace drive(const StepCache& cache, int steps, const std::function<double(int)>& x,
            const std::function<double(int)>& y) {
  const NoiseSchedule grid = test::schedule_of(NoiseKind::Flow, steps);
  const auto state = cache.begin();
  const BranchKey key;
  Trace trace;
  for (int i = 0; i < steps; ++i) {
    const at::Tensor input = at::full({1, 1, 2, 2}, x(i), at::kDouble);
    const CachedStep step{{i, steps}, grid.level(i), Parameterization::X0, input};
    at::Tensor output;
    if (state->runs(step, {&key, 1}).front()) {
      trace.ran.push_back(i);
      output = at::full({1, 1, 2, 2}, y(i), at::kDouble);
    }
    state->complete(step, {&key, 1}, {&output, 1});
    trace.outputs.push_back(output.max().item<double>());
  }
  return trace;
}

double zero(int) { return 0.0; }

TEST_CASE("TaylorSeer runs at the published steps and extrapolates with backward differences", "[oracle]") {
  const auto square = [](int i) { return static_cast<double>(i) * i; };
  const auto line = [](int i) { return 2.0 - 0.5 * i; };
  const Trace published = drive(*cache_of("taylor-seer"), 50, zero, line);
  CHECK(published.ran == std::vector<int>{0, 1, 2, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49});
  for (int i = 0; i < 50; ++i)
    CHECK(published.outputs[static_cast<size_t>(i)] == Approx(line(i)).margin(1e-12));
  // Differences stand in for derivatives, so a parabola is missed by d at distance d behind consecutive
  // steps.
  const Trace bent =
      drive(*cache_of("taylor-seer", {{"order", 2}, {"warmup", 4}, {"interval", 4}}), 8, zero, square);
  CHECK(bent.ran == std::vector<int>{0, 1, 2, 3, 5});
  CHECK(bent.outputs[4] == Approx(16.0 - 1.0));
  const Trace constant = drive(*cache_of("taylor-seer", {{"order", 0}}), 10, zero, square);
  CHECK(constant.outputs[3] == 4.0);  // repeats step 2
  CHECK(constant.outputs[8] == 16.0);
  CHECK(drive(*cache_of("taylor-seer", {{"interval", 1}, {"order", 0}}), 9, zero, line).ran.size() == 9);
  CHECK(drive(*cache_of("taylor-seer", {{"stop", 0.5}}), 10, zero, line).ran ==
        std::vector<int>{0, 1, 2, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("TaylorSeer in log-SNR is exact for what is linear there", "[oracle]") {
  const NoiseSchedule grid = test::schedule_of(NoiseKind::Flow, 20);
  const auto y = [&](int i) { return i == 0 ? 0.0 : 3.0 + 2.0 * grid.level(i).lambda(); };
  const Trace trace = drive(*cache_of("taylor-seer", {{"clock", "log-snr"}}), 20, zero, y);
  CHECK(trace.ran.size() < 10);
  for (int i = 1; i < 20; ++i) CHECK(trace.outputs[static_cast<size_t>(i)] == Approx(y(i)));
}

TEST_CASE("Spectrum runs ever more rarely and is exact for polynomials without ridge", "[oracle]") {
  const auto cubic = [](int i) { return 1.0 + i - 0.2 * i * i + 0.01 * i * i * i; };
  CHECK(drive(*cache_of("spectrum"), 20, zero, cubic).ran ==
        std::vector<int>{0, 1, 2, 3, 5, 7, 10, 13, 17, 18, 19});
  const Trace exact = drive(*cache_of("spectrum", {{"weight", 1}, {"ridge", 0}}), 20, zero, cubic);
  for (int i = 0; i < 20; ++i) CHECK(exact.outputs[static_cast<size_t>(i)] == Approx(cubic(i)).epsilon(1e-8));
  // Without the polynomial: h + (h - h_1) / 2 behind steps 2 and 3.
  CHECK(drive(*cache_of("spectrum", {{"weight", 0}}), 20, zero, cubic).outputs[4] ==
        Approx(1.5 * cubic(3) - 0.5 * cubic(2)));
  CHECK(drive(*cache_of("spectrum", {{"interval", 1}, {"growth", 0}}), 20, zero, cubic).ran.size() == 20);
  // A heavy ridge shrinks the forecast to nothing.
  CHECK(std::abs(detail::chebyshev_weights({-1.0, -0.5, 0.0}, 0.5, 2, 1e9)[0]) < 1e-8);
}

TEST_CASE("EasyCache adds up predicted changes and runs when they reach the threshold", "[oracle]") {
  const auto x = [](int i) { return static_cast<double>(i); };
  const auto y = [](int i) { return 2.0 * i; };
  // K = 2 from step 1 on, so the predicted change of a step is 2 / |y| with y from the last one that ran.
  const Trace trace = drive(*cache_of("easy-cache", {{"threshold", 0.5}, {"start", 0}}), 12, x, y);
  CHECK(trace.ran == std::vector<int>{0, 1, 2, 3, 5, 8, 11});
  CHECK(trace.outputs[4] == Approx(4.0 + (6.0 - 3.0)));
  CHECK(trace.outputs[7] == Approx(7.0 + (10.0 - 5.0)));
  CHECK(drive(*cache_of("easy-cache", {{"threshold", 0.5}, {"start", 0.5}}), 12, x, y).ran ==
        std::vector<int>{0, 1, 2, 3, 4, 5, 8, 11});
  CHECK(drive(*cache_of("easy-cache", {{"threshold", 0}}), 12, x, y).ran.size() == 12);
}

TEST_CASE("MagCache spares steps while its ratios allow, and measures them", "[oracle]") {
  const auto x = [](int i) { return static_cast<double>(i); };
  const auto y = [](int i) { return i + std::pow(2.0, i); };  // the change doubles every step
  CHECK(drive(*cache_of("mag-cache", {{"ratios", "0.9"}}), 10, x, y).ran ==
        std::vector<int>{0, 1, 3, 5, 7, 9});  // one step: E = 0.1; two: 0.1 + 0.19
  CHECK(drive(*cache_of("mag-cache", {{"ratios", "1"}}), 10, x, y).ran == std::vector<int>{0, 1, 4, 7});
  CHECK(drive(*cache_of("mag-cache", {{"ratios", "1"}, {"most", 0}}), 10, x, y).ran.size() == 10);
  // Ten ratios for twenty steps: the first half is 1, the second 2.
  CHECK(drive(*cache_of("mag-cache", {{"ratios", "1x5+2x5"}, {"most", 100}}), 20, x, y).ran ==
        std::vector<int>{0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19});
  const auto plain = cache_of("mag-cache", {{"threshold", 0}});
  const auto model = test::token_model(NoiseKind::Flow, 1.0);  // y = x + b: the change stays b
  const Sampler sampler({.predictor = {.model = model, .rule = std::make_shared<Cfg>(3.0)},
                         .schedule = test::schedule_of(NoiseKind::Flow, 4),
                         .solver = std::make_shared<Euler>(),
                         .cache = plain});
  const auto reports = sampler.sample({.prompt = test::prompt_of(), .noise = test::latents(1)}).reports;
  const std::vector<double>& ratios = reports.at("mag-cache").at("ratio");
  REQUIRE(ratios.size() == 4);
  for (double ratio : ratios) CHECK(ratio == Approx(1.0));
  CHECK_THAT(failure([] { cache_of("mag-cache"); }),
             Contains("mag-cache.ratios: expected the model's ratios"));
  CHECK_THAT(failure([] { cache_of("mag-cache", {{"ratios", "1+-1"}}); }), Contains("mag-cache.ratios"));
}

TEST_CASE("A step mask is followed to the letter", "[oracle]") {
  const auto y = [](int i) { return 1.0 + i * i; };
  const auto x = [](int i) { return 0.5 * i; };
  const Trace residual = drive(*cache_of("step-mask", {{"mask", "110100"}}), 6, x, y);
  CHECK(residual.ran == std::vector<int>{0, 1, 3});
  CHECK(residual.outputs[2] == Approx(x(2) + y(1) - x(1)));
  CHECK(residual.outputs[5] == Approx(x(5) + y(3) - x(3)));
  CHECK(drive(*cache_of("step-mask", {{"mask", "110100"}, {"reuse", "output"}}), 6, x, y).outputs[5] == y(3));
  for (const char* mask : {"", "0111", "1121", "true"})
    CHECK_THAT(failure([&] {
                 cache_of("step-mask", {{"mask", mask}});
               }),
               Contains("step-mask.mask: expected"));
}

/// A run of a model under a cache; null = none.
SampleResult cached(std::shared_ptr<const StepCache> cache, std::shared_ptr<const Model> model,
                    NoiseKind kind, const char* solver = "euler", double guidance = 3.0, int steps = 12,
                    int64_t batch = 2, std::vector<StepMethod> methods = {}, Observer* observer = nullptr) {
  const auto solves = builtins().solver({solver});
  return Sampler({.predictor = {.model = std::move(model), .rule = std::make_shared<Cfg>(guidance)},
                  .schedule = test::schedule_of(kind, steps, *solves),
                  .solver = solves,
                  .step_methods = std::move(methods),
                  .cache = std::move(cache)})
      .sample({.prompt = test::prompt_of(), .noise = test::latents(batch), .observer = observer});
}

struct Named {
  const char* name;
  OptionValues options;
};

/// Every cache, with options that spare something in twelve steps.
const std::vector<Named>& active() {
  static const std::vector<Named> all = {{"easy-cache", {{"threshold", 0.5}}},
                                         {"mag-cache", {{"ratios", "0.98"}}},
                                         {"taylor-seer", {{"interval", 3}}},
                                         {"spectrum", {}},
                                         {"cfg-cache", {{"interval", 3}, {"time_max", 1000}}},
                                         {"adaptive-guidance", {{"threshold", -0.9}}},
                                         {"step-mask", {{"mask", "111101010101"}}}};
  return all;
}

TEST_CASE("Off is the plain run, bit for bit and row for row", "[oracle]") {
  const Named off[] = {{"easy-cache", {{"threshold", 0}}},
                       {"easy-cache", {{"threshold", 9}, {"start", 1}}},
                       {"mag-cache", {{"threshold", 0}}},
                       {"mag-cache", {{"ratios", "1"}, {"most", 0}}},
                       {"taylor-seer", {{"interval", 1}, {"order", 0}}},
                       {"spectrum", {{"interval", 1}, {"growth", 0}}},
                       {"spectrum", {{"stop", 0}}},
                       {"cfg-cache", {{"interval", 1}}},
                       {"adaptive-guidance", {{"threshold", 1}}},
                       {"step-mask", {{"mask", "111111111111"}}}};
  for (NoiseKind kind : kKinds)
    for (const char* solver : {"euler", "dpmpp-2m-sde", "heun"}) {
      const SampleResult plain = cached(nullptr, test::token_model(kind), kind, solver);
      for (const auto& [name, options] : off) {
        const SampleResult result = cached(cache_of(name, options), test::token_model(kind), kind, solver);
        CAPTURE(name, solver, enum_name(kind));
        CHECK(at::equal(result.latents, plain.latents));
        CHECK(result.usage.rows == plain.usage.rows);
        CHECK(result.usage.calls == plain.usage.calls);
      }
    }
}

TEST_CASE("Where the network only adds a constant, repeating its change is exact", "[oracle]") {
  for (NoiseKind kind : kKinds) {
    const auto model = test::token_model(kind, 1.0);
    const SampleResult plain = cached(nullptr, model, kind);
    for (const Named& cache :
         {Named{"easy-cache", {{"threshold", 100}}}, Named{"mag-cache", {{"ratios", "1"}}},
          Named{"step-mask", {{"mask", "110000000000"}}}}) {
      const SampleResult result = cached(cache_of(cache.name, cache.options), model, kind);
      CAPTURE(cache.name, enum_name(kind));
      CHECK(result.usage.rows < plain.usage.rows);
      CHECK(test::relative_error(result.latents, plain.latents) < 1e-12);
    }
  }
}

TEST_CASE("Where both branches agree, sparing the unconditional one is exact", "[oracle]") {
  for (NoiseKind kind : kKinds) {
    const auto model =
        test::model_of(test::output_of(kind), kind,
                       [](const at::Tensor& x, const Level& level) { return x.mul(0.3).add(level.sigma); });
    const SampleResult plain = cached(nullptr, model, kind);
    for (const Named& cache :
         {Named{"cfg-cache", {{"time_max", 1000}}}, Named{"adaptive-guidance", {{"threshold", 0.99}}}}) {
      const SampleResult result = cached(cache_of(cache.name, cache.options), model, kind);
      CAPTURE(cache.name, enum_name(kind));
      // Steps 0, 5, 10 keep both branches; step 0 does.
      CHECK(result.usage.rows == 2 * (12 + (cache.name == std::string("cfg-cache") ? 3 : 1)));
      CHECK(test::relative_error(result.latents, plain.latents) < 1e-12);
    }
  }
}

TEST_CASE("A sample is spared the same evaluations in a batch as alone, to the bit", "[oracle]") {
  for (NoiseKind kind : kKinds)
    for (const char* solver : {"euler", "heun", "dpmpp-2m"})
      for (const auto& [name, options] : active()) {
        CAPTURE(name, solver, enum_name(kind));
        const auto cache = cache_of(name, options);
        const auto run = [&](SampleRequest request) {
          const auto solves = builtins().solver({solver});
          request.prompt = test::prompt_of();
          request.latent_shape = {4, 8, 8};
          return Sampler({.predictor = {.model = test::token_model(kind), .rule = std::make_shared<Cfg>(3.0)},
                          .schedule = test::schedule_of(kind, 12, *solves),
                          .solver = solves,
                          .cache = cache})
              .sample(request);
        };
        const SampleResult batch = run({.seed = 5, .batch = 3});
        int64_t rows = 0;
        for (int64_t b = 0; b < 3; ++b) {
          const SampleResult alone = run({.seed = 5 + static_cast<uint64_t>(b)});
          CHECK(at::equal(alone.latents, batch.latents.slice(0, b, b + 1)));
          CHECK(alone.reports.at(name).at("spared").front() ==
                batch.reports.at(name).at("spared")[static_cast<size_t>(b)]);
          rows += alone.usage.rows;
        }
        CHECK(rows == batch.usage.rows);
        CHECK(at::equal(run({.seed = 5, .batch = 3}).latents, batch.latents));  // nothing is kept
      }
}

TEST_CASE("Rows plus what was spared are the plain run's rows, and a reflection is never cached",
          "[oracle]") {
  std::atomic<int> calls = 0;
  for (NoiseKind kind : kKinds)
    for (const char* solver : {"euler", "heun"})
      for (const auto& [name, options] : active())
        for (bool reflects : {false, true}) {
          std::vector<StepMethod> methods;
          if (reflects) methods.push_back(test::reflection({{"stop", 0.5}}));
          const auto model = test::token_model(kind, 0.3, &calls);
          const SampleResult plain = cached(nullptr, model, kind, solver, 3.0, 12, 2, methods);
          calls = 0;
          const SampleResult result =
              cached(cache_of(name, options), model, kind, solver, 3.0, 12, 2, methods);
          CAPTURE(name, solver, reflects, enum_name(kind));
          CHECK(result.usage.calls == calls);
          double spared = 0.0;
          for (double of_sample : result.reports.at(name).at("spared")) spared += of_sample;
          CHECK(spared > 0.0);
          CHECK(static_cast<double>(result.usage.rows) + spared == static_cast<double>(plain.usage.rows));
          if (reflects) CHECK(result.by_stage.at("z-sampling").rows == plain.by_stage.at("z-sampling").rows);
        }
}

TEST_CASE("Direct forms share the accepted prediction's cache", "[oracle]") {
  for (NoiseKind kind : kKinds)
    for (const auto& [name, options] : active()) {
      const auto direct = test::reflection({{"form", "direct"}, {"guidance_inverse", 0.5}});
      const SampleResult with =
          cached(cache_of(name, options), test::token_model(kind), kind, "euler", 2.0, 12, 2, {direct});
      const SampleResult without =
          cached(cache_of(name, options), test::token_model(kind), kind, "euler", 2.0);
      CAPTURE(name, enum_name(kind));
      CHECK_FALSE(at::equal(with.latents, without.latents));
      if (name == std::string("easy-cache") || name == std::string("adaptive-guidance")) continue;
      CHECK(with.usage.rows == without.usage.rows);  // the other caches do not look at the latents
    }
}

TEST_CASE("A cancelled run leaves its sampler as it was", "[oracle]") {
  for (const auto& [name, options] : active()) {
    const auto cache = cache_of(name, options);
    const auto model = test::token_model(NoiseKind::Flow);
    const SampleResult before = cached(cache, model, NoiseKind::Flow);
    test::Watcher watcher{};
    watcher.stop_at_step = 7;
    CHECK_THROWS_AS(cached(cache, model, NoiseKind::Flow, "euler", 3.0, 12, 2, {}, &watcher), Error);
    CHECK(at::equal(cached(cache, model, NoiseKind::Flow).latents, before.latents));
  }
}

TEST_CASE("A cache that could spare nothing, or does not fit the run, is refused when the sampler is built",
          "[oracle]") {
  const auto model = test::token_model(NoiseKind::Flow);
  for (const char* name : {"cfg-cache", "adaptive-guidance"})
    CHECK_THAT(failure([&] { cached(cache_of(name), model, NoiseKind::Flow, "euler", 1.0); }),
               Contains(name) && Contains("nothing to spare"));
  CHECK_THAT(failure([&] {
               cached(cache_of("step-mask", {{"mask", "101"}}), model, NoiseKind::Flow);
             }),
             Contains("step-mask.mask: expected one digit per step (12), got 3"));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
