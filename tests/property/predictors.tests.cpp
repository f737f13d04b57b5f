// What the predictors of a reflection share with the run, and what they do not: its filters, what its rule
// remembers, and the released code's switches.
#include <glint/catalog/registry.hpp>
#include <glint/step/z_core2.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/errors.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

using test::relative_error;
using test::run;

constexpr int kSteps = test::kRunSteps;

TEST_CASE("Equal predictors change nothing, whatever the run's rule remembers", "[property]") {
  const auto rule = builtins().rule({"apg", {{"scale", 3.0}, {"momentum", -0.5}}});
  const OptionValues equal_legs{{"forward_scale", 0.0}, {"inverse_scale", 0.0}, {"merge", 1.0}};
  for (NoiseKind kind : test::kKinds) {
    const SampleResult plain = run(kind, rule, {}, {});
    for (const auto& [name, value] : {std::pair{"form", "direct"}, std::pair{"evaluation", "fixed-point"}})
      for (int span : {1, 2, 3}) {
        OptionValues options = equal_legs;
        options.emplace("span", span);
        options.emplace(name, value);
        const SampleResult reflected = run(kind, rule, {}, {builtins().step({"rf-sampling", options})});
        CAPTURE(enum_name(kind), value, span);
        CHECK(relative_error(reflected.latents, plain.latents) < 1e-12);
      }
    const SampleResult forgetful = run(kind, builtins().rule({"apg", {{"scale", 3.0}}}), {}, {});
    CHECK(relative_error(forgetful.latents, plain.latents) > 1e-3);
  }
}

TEST_CASE("A fixed-point inversion gives equal predictors back exactly, for every span", "[property]") {
  for (NoiseKind kind : test::kKinds)
    for (int span : {1, 2, 3}) {
      const auto z = builtins().step(
          {"z-sampling",
           {{"guidance_inverse", 3.0}, {"evaluation", "fixed-point"}, {"iterations", 1}, {"span", span}}});
      const auto rule = std::make_shared<Cfg>(3.0);
      CAPTURE(enum_name(kind), span);
      CHECK(relative_error(run(kind, rule, {}, {z}).latents, run(kind, rule, {}, {}).latents) < 1e-12);
    }
}

TEST_CASE("A predictor at another scale keeps the run's filters", "[property]") {
  for (const Choice& filter : {Choice{"rescale"}, Choice{"dynamic", {{"power", 1.0}}},
                               Choice{"interval", {{"start", 0.25}, {"stop", 0.75}}}}) {
    const auto filtered = [&](std::vector<StepMethod> methods) {
      return Sampler({.predictor = {.model = test::token_model(NoiseKind::Flow),
                                    .rule = std::make_shared<Cfg>(3.0),
                                    .filters = {builtins().filter(filter)}},
                      .schedule = test::schedule_of(NoiseKind::Flow, test::kRunSteps),
                      .solver = std::make_shared<Euler>(),
                      .step_methods = std::move(methods)})
          .sample({.prompt = test::prompt_of(), .noise = test::latents()})
          .latents;
    };
    const auto z = [&](double inverse) {
      return builtins().step({"z-sampling", {{"guidance_inverse", inverse}, {"form", "direct"}}});
    };
    CAPTURE(filter.name);
    const at::Tensor plain = filtered({});
    CHECK(relative_error(filtered({z(3.0)}), plain) < 1e-12);
    CHECK(relative_error(filtered({z(1.0)}), plain) > 1e-3);
  }
}

TEST_CASE("Z-CoRe2's gap turns round above g = (g1 - 1) / (w0 - 1)", "[property]") {
  // With an exact network the direct form is CFG at g1 + (g1 - 1 - g (w0 - 1)), but for the last step.
  constexpr double kForward = 5.0, kImitated = 5.0;
  for (NoiseKind kind : test::kKinds)
    for (double g : {0.5, 1.0, 1.5}) {
      const WeakNetwork exact = [](const at::Tensor& cond, const GuidanceStep& step) {
        const double slope = 0.3;
        return at::lerp(step.x.mul(slope).add_(-0.2), cond, kImitated);
      };
      const StepMethod z =
          reflection("z-core2", same_predictor(), with_rule(std::make_shared<const Core2Inverse>(exact, g)),
                     {.form = Form::Direct});
      const double scale = kForward + (kForward - 1.0 - g * (kImitated - 1.0));
      const auto expected =
          builtins().rule({"cfg-schedule", {{"scales", message("{}x{}+{}", scale, kSteps - 1, kForward)}}});
      CAPTURE(enum_name(kind), g, scale);
      CHECK(relative_error(run(kind, std::make_shared<Cfg>(kForward), {}, {z}).latents,
                           run(kind, expected, {}, {}).latents) < 1e-12);
    }
}

TEST_CASE("Legacy=true is the released code's switches, by each strategy", "[property]") {
  const auto rule = std::make_shared<Cfg>(3.0);
  for (const char* name : {"z-sampling", "w2sd", "reflect"})
    for (NoiseKind kind : test::kKinds) {
      const SampleResult legacy = run(kind, rule, {}, {builtins().step({name, {{"legacy", true}}})});
      const SampleResult spelled =
          run(kind, rule, {},
              {builtins().step({name, {{"coefficients", "legacy-shifted"}, {"branches", "legacy-both"}}})});
      CAPTURE(name, enum_name(kind));
      CHECK(at::equal(legacy.latents, spelled.latents));
      CHECK(legacy.usage.rows == spelled.usage.rows);
      CHECK_FALSE(at::equal(legacy.latents, run(kind, rule, {}, {builtins().step({name, {}})}).latents));
    }
  for (const char* name : {"z-sampling", "w2sd", "reflect", "rf-sampling"})
    CHECK_THAT(test::failure([&] {
                 builtins().step({name, {{"legacy", true}, {"form", "direct"}}});
               }),
               test::Contains(message("{}.legacy: the released code has no direct form", name)));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
