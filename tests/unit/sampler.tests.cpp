// The sampler at its edges: what it refuses and how it says so, and the order of things in a run.
#include <glint/catalog/registry.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/model/callable_model.hpp>
#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/unipc.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/errors.hpp"
#include "tests/support/mixtures.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

#include <limits>

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;
using test::failure;
using test::prompt_of;
using test::schedule_of;
using test::token_model;

constexpr NoiseKind kFlow = NoiseKind::Flow;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::shared_ptr<const Model> echo(ModelInfo info) {
  return std::make_shared<CallableModel>(std::move(info), [](const ModelInput& in) {
    return std::vector<at::Tensor>(in.branches.size(), in.x);
  });
}

ModelInfo flow_info(std::vector<int64_t> shape = {}) {
  return {.name = "net",
          .parameterization = Parameterization::Velocity,
          .noise_kind = kFlow,
          .latent_shape = std::move(shape)};
}

SamplerParts parts() {
  return {.predictor = {.model = echo(flow_info()), .rule = std::make_shared<Cfg>(1.0)},
          .schedule = schedule_of(kFlow, 4),
          .solver = std::make_shared<Euler>()};
}

template <typename Change>
std::string refused_parts(Change change) {
  return failure([&] {
    SamplerParts p = parts();
    change(p);
    Sampler sampler(std::move(p));
  });
}

std::string refused_request(std::vector<int64_t> model_shape, const SampleRequest& request) {
  const Sampler sampler = test::sampler_of(echo(flow_info(std::move(model_shape))), schedule_of(kFlow, 4));
  return failure([&] { sampler.sample(request); });
}

TEST_CASE("Parts that are missing are refused by name", "[unit]") {
  CHECK(refused_parts([](SamplerParts&) {}) == "no error");
  CHECK(refused_parts([](SamplerParts& p) { p.predictor.model = nullptr; }) ==
        "InvalidArgument: model: expected one, got none");
  CHECK_THAT(refused_parts([](SamplerParts& p) { p.predictor.rule = nullptr; }),
             Contains("InvalidArgument: rule: expected"));
  CHECK_THAT(refused_parts([](SamplerParts& p) { p.solver = nullptr; }),
             Contains("InvalidArgument: solver: expected"));
  CHECK_THAT(refused_parts([](SamplerParts& p) { p.noise_strategies = {nullptr}; }),
             Contains("noise_strategies: expected"));
  CHECK_THAT(refused_parts([](SamplerParts& p) { p.step_methods = {StepMethod()}; }),
             Contains("step_methods: expected"));
}

TEST_CASE("Parts that do not fit each other are refused with the reason", "[unit]") {
  CHECK_THAT(
      refused_parts([](SamplerParts& p) { p.schedule = schedule_of(NoiseKind::VariancePreserving, 4); }),
      Contains("schedule: model 'net' was trained with flow noise, but the schedule is vp"));
  CHECK_THAT(refused_parts([](SamplerParts& p) {
               ModelInfo info = flow_info();
               info.uncond_branch = false;
               p.predictor = {.model = echo(info), .rule = std::make_shared<Cfg>(4.0)};
             }),
             Contains("rule: model 'net' has no unconditional branch") && Contains("use scale 1"));
  CHECK_THAT(refused_parts([](SamplerParts& p) { p.predictor.embedded_guidance = 3.5; }),
             Contains("embedded guidance: model 'net' does not take it"));
  CHECK_THAT(refused_parts([](SamplerParts& p) {
               p.predictor.adapters = {{"style", 1.0}};
             }),
             Contains("adapters: model 'net' has no adapter 'style'"));
  CHECK_THAT(refused_parts([](SamplerParts& p) {
               ModelInfo info = flow_info();
               info.adapters = {"style"};
               p.predictor.model = echo(info);
               p.predictor.adapters = {{"style", kNan}};
             }),
             Contains("adapters.style: expected a finite scale, got nan"));
  CHECK_THAT(
      refused_parts([](SamplerParts& p) {
        p.schedule = schedule_of(NoiseKind::VariancePreserving, 4);
        ModelInfo info = flow_info();
        info.noise_kind = NoiseKind::VariancePreserving;
        info.parameterization = Parameterization::Epsilon;
        p.predictor = {.model = echo(info),
                       .rule = builtins().rule({"cfg-zero-star"}),
                       .filters = {builtins().filter({"interval"})}};
      }),
      Contains("cfg-zero-star.zero_steps: a zero prediction means standing still for velocity models") &&
          Contains("expected 0 for model 'net', which predicts epsilon, got 1"));
  // An epsilon model says nothing of x0 at the pure noise a flow grid starts from.
  CHECK_THAT(refused_parts([](SamplerParts& p) {
               ModelInfo info = flow_info();
               info.parameterization = Parameterization::Epsilon;
               p.predictor.model = echo(info);
             }),
             Contains("Numerical: epsilon prediction: x0 is undetermined"));
  CHECK_THAT(refused_parts([](SamplerParts& p) {
               p.schedule = schedule_of(NoiseKind::VariancePreserving, 4);
               ModelInfo info = flow_info();
               info.noise_kind = NoiseKind::VariancePreserving;
               p.predictor.model = echo(info);
               p.solver = std::make_shared<FlowEuler>();
             }),
             Contains("solver flow-euler: expected a flow model"));
  for (const std::shared_ptr<const Solver>& solver :
       {std::shared_ptr<const Solver>(std::make_shared<Dpmpp2m>()),
        std::shared_ptr<const Solver>(std::make_shared<Dpmpp2mSde>()),
        std::shared_ptr<const Solver>(std::make_shared<UniPc>())})
    CHECK_THAT(refused_parts([&](SamplerParts& p) {
                 p.schedule = NoiseSchedule(kFlow, {{900, 0.1, 0.9}, {500, 0.5, 0.5}, {500, 0.5, 0.5}, {}});
                 p.solver = solver;
               }),
               Contains("expected noise to fall at every step"));
}

TEST_CASE("Noise that cannot be sampled from is refused by name, with what came", "[unit]") {
  const auto with_noise = [](at::Tensor noise) {
    return refused_request({4, -1, -1}, {.prompt = prompt_of(), .noise = std::move(noise)});
  };
  CHECK(with_noise(at::zeros({1, 4, 8, 8})) == "no error");
  CHECK(with_noise(at::zeros({1, 4, 8, 8}, at::kLong)) ==
        "UnsupportedDtype: noise: expected float32 or float64, got Long");
#ifndef GLINT_CORE_ONLY  // which has no half precision
  CHECK_THAT(with_noise(at::zeros({1, 4, 8, 8}, at::kHalf)),
             Contains("UnsupportedDtype: noise") && Contains("Half"));
#endif
  CHECK_THAT(with_noise(at::zeros({4})),
             Contains("ShapeMismatch: noise: expected [B,C,...]") && Contains("got [4]"));
  CHECK_THAT(with_noise(at::zeros({0, 4, 8, 8})), Contains("ShapeMismatch: noise") && Contains("[0,4,8,8]"));
  CHECK_THAT(
      with_noise(at::zeros({1, 4, 8})),
      Contains("ShapeMismatch: noise: model 'net' expects latents [4,-1,-1]") && Contains("got [4,8]"));
  CHECK_THAT(with_noise(at::zeros({1, 3, 8, 8})),
             Contains("ShapeMismatch: noise: model 'net'") && Contains("got [3,8,8]"));
  CHECK_THAT(with_noise(at::zeros({1, 4, 0, 8})),
             Contains("ShapeMismatch: noise: model 'net'") && Contains("got [4,0,8]"));
  for (double bad : {kNan, std::numeric_limits<double>::infinity()}) {
    at::Tensor noise = at::zeros({2, 4, 8, 8});
    noise.data_ptr<float>()[noise.numel() - 1] = static_cast<float>(bad);
    CHECK(with_noise(noise) == "Numerical: noise: expected finite values, got NaN or infinity");
  }
}

TEST_CASE("A size or batch that cannot be drawn is refused by name, with what came", "[unit]") {
  const auto request = [](std::vector<int64_t> model_shape, std::vector<int64_t> shape, int64_t batch = 1) {
    return refused_request(std::move(model_shape),
                           {.prompt = prompt_of(), .batch = batch, .latent_shape = std::move(shape)});
  };
  CHECK(request({4, -1, -1}, {4, 8, 8}) == "no error");
  CHECK(request({4, 8, 8}, {}) == "no error");
  CHECK(request({}, {2, 5}) == "no error");
  CHECK(request({}, {}) ==
        "ShapeMismatch: latent_shape: model 'net' leaves it open ([]); give it in the request");
  CHECK_THAT(request({4, -1, -1}, {}), Contains("latent_shape: model 'net' leaves it open ([4,-1,-1])"));
  CHECK_THAT(request({4, -1, -1}, {4, -8, 8}),
             Contains("ShapeMismatch: latent_shape") && Contains("got [4,-8,8]"));
  CHECK_THAT(request({}, {4, 0, 8}),
             Contains("latent_shape: model 'net' expects latents of positive sizes, got [4,0,8]"));
  CHECK_THAT(request({4, -1, -1}, {16, 8, 8}),
             Contains("ShapeMismatch: latent_shape") && Contains("got [16,8,8]"));
  CHECK_THAT(request({4, -1, -1}, {4, 8}), Contains("ShapeMismatch: latent_shape") && Contains("got [4,8]"));
  for (int64_t batch : {0, -2})
    CHECK(request({}, {4, 8, 8}, batch) ==
          "InvalidArgument: batch: expected at least 1, got " + std::to_string(batch));
}

TEST_CASE("Guidance without a negative prompt is refused by name, by whatever asks for it", "[unit]") {
  const SampleRequest request{.prompt = {.cond = prompt_of().cond}, .noise = test::latents()};
  const auto refused = [&](std::shared_ptr<const GuidanceRule> rule, bool measure,
                           std::vector<StepMethod> methods,
                           std::vector<std::shared_ptr<const GuidanceFilter>> filters = {}) {
    SamplerParts p{
        .predictor = {.model = token_model(kFlow), .rule = std::move(rule), .filters = std::move(filters)},
        .schedule = schedule_of(kFlow, 4),
        .solver = std::make_shared<Euler>(),
        .step_methods = std::move(methods)};
    SampleRequest measured = request;
    measured.effective_guidance = measure;
    return failure([&] { Sampler(p).sample(measured); });
  };
  const auto plain = std::make_shared<Cfg>(1.0);
  CHECK(refused(plain, false, {}) == "no error");
  for (const std::string& message :
       {refused(std::make_shared<Cfg>(2.0), false, {}), refused(plain, true, {}),
        refused(plain, false, {test::reflection()}), refused(builtins().rule({"cfg-zero-star"}), false, {}),
        refused(std::make_shared<Cfg>(2.0), false, {}, {builtins().filter({"interval", {{"start", 0.5}}})})})
    CHECK_THAT(message, Contains("null_tokens: guidance at step ") && Contains("give them, or guidance 1"));
}

TEST_CASE("Values that stop being finite are reported, with the step where asked to look", "[unit]") {
  std::atomic<int> calls = 0;
  const auto model =
      test::model_of(Parameterization::Velocity, kFlow, [&](const at::Tensor& x, const Level&) {
        return calls++ == 3 ? at::full({2, 4, 8, 8}, kNan, at::kDouble) : x;
      });
  const Sampler sampler = test::sampler_of(model, schedule_of(kFlow, 6));
  const auto run = [&](bool check) {
    calls = 0;
    return failure(
        [&] { sampler.sample({.prompt = prompt_of(), .noise = test::latents(), .check_finite = check}); });
  };
  CHECK(run(true) == "Numerical: latents: expected finite values, got NaN or infinity after step 3");
  CHECK(calls == 4);
  CHECK(run(false) == "Numerical: latents: expected finite values, got NaN or infinity");
  CHECK(calls == 6);
}

TEST_CASE("A trajectory holds every level's latents, from the initial ones to the result", "[unit]") {
  const NoiseSchedule grid = vp_schedule({}, {.steps = 5, .spacing = Spacing::Trailing});
  REQUIRE(grid.initial_scale() < 1.0);
  const Sampler sampler = test::sampler_of(token_model(NoiseKind::VariancePreserving), grid);
  const SampleRequest request{.prompt = prompt_of(), .noise = test::latents(), .keep_trajectory = true};
  const SampleResult result = sampler.sample(request);
  REQUIRE(result.trajectory.size() == 6);
  CHECK(at::equal(result.trajectory.front(), request.noise * grid.initial_scale()));
  CHECK(at::equal(result.trajectory.back(), result.latents));
  for (size_t i = 1; i < 6; ++i) CHECK_FALSE(at::equal(result.trajectory[i], result.trajectory[i - 1]));
  CHECK(sampler.sample({.prompt = prompt_of(), .noise = request.noise}).trajectory.empty());
}

TEST_CASE("Latents have the dtype of the noise, and float32 without any", "[unit]") {
  const Sampler sampler = test::sampler_of(token_model(kFlow), schedule_of(kFlow, 3));
  for (at::ScalarType dtype : {at::kFloat, at::kDouble})
    CHECK(sampler.sample({.prompt = prompt_of(), .noise = test::latents().to(dtype)}).latents.scalar_type() ==
          dtype);
  const SampleResult drawn =
      sampler.sample({.prompt = prompt_of(), .seed = 8, .batch = 2, .latent_shape = {4, 8, 8}});
  CHECK(drawn.latents.scalar_type() == at::kFloat);
  CHECK(drawn.seed == 8);
  CHECK(drawn.steps == 3);
  const at::Tensor noise = NoiseStream(8, 2).normal({4, 8, 8});
  CHECK(at::equal(drawn.latents, sampler.sample({.prompt = prompt_of(), .seed = 8, .noise = noise}).latents));
}

// Multiplies the noise, then adds to it; predicts once, to have something to be charged for.
class Rework final : public NoiseStrategy {
 public:
  Rework(std::string name, double factor, double offset)
      : name_(std::move(name)), factor_(factor), offset_(offset) {}
  std::string_view name() const override { return name_; }
  at::Tensor refine(const at::Tensor& x, const NoiseContext& context) const override {
    context.run.predict(context.predictor, x, context.run.schedule().level(0), 0);
    return x * factor_ + offset_;
  }

 private:
  std::string name_;
  double factor_, offset_;
};

TEST_CASE("Noise strategies work in order, before the loop, and are charged under their names", "[unit]") {
  test::Watcher watcher;
  const Sampler sampler({.predictor = {.model = token_model(kFlow), .rule = std::make_shared<Cfg>(2.0)},
                         .schedule = schedule_of(kFlow, 4),
                         .solver = std::make_shared<Euler>(),
                         .noise_strategies = {std::make_shared<Rework>("plus", 1.0, 3.0),
                                              std::make_shared<Rework>("times", 2.0, 0.0)},
                         .step_methods = {test::reflection({{"stop", 0.5}})}});
  const at::Tensor noise = test::latents();
  const SampleResult result =
      sampler.sample({.prompt = prompt_of(), .noise = noise, .observer = &watcher, .keep_trajectory = true});
  CHECK(at::equal(result.trajectory.front(), (noise + 3.0) * 2.0));
  CHECK(watcher.stages == std::vector<std::string>{"denoise", "plus", "times", "z-sampling", "z-sampling"});
  CHECK(result.by_stage.at("plus").calls == 1);
  CHECK(result.by_stage.at("times").rows == 4);
  CHECK(result.by_stage.at("denoise").calls == 4);
}

TEST_CASE("The denoised estimate of every step of point-mass data is the point", "[unit]") {
  struct Previews : Observer {
    std::vector<at::Tensor> seen;
    bool on_step(const StepEvent& e) override {
      CHECK(e.step == static_cast<int>(seen.size()));
      CHECK(e.steps == 6);
      CHECK(e.usage.calls >= e.step + 1);
      seen.push_back(e.denoised());
      return true;
    }
  };
  for (NoiseKind kind : test::kKinds) {
    const auto model = test::gaussian(1.25, 0.0, test::output_of(kind), kind);
    Previews previews;
    const Sampler sampler =
        test::sampler_of(model, schedule_of(kind, 6), std::make_shared<Euler>(), 1.0, {test::reflection()});
    sampler.sample({.prompt = {model->condition(), model->condition()},
                    .noise = NoiseStream(1, 2).normal({2, 1}, at::kDouble),
                    .observer = &previews});
    REQUIRE(previews.seen.size() == 6);
    // eps models divide by alpha, 0.07 or more here.
    for (const at::Tensor& preview : previews.seen)
      CHECK(preview.sub(1.25).abs().max().item<double>() < 1e-12);
  }
}

TEST_CASE("A model of one's own that answers wrongly is refused by name", "[unit]") {
  /// Answers every call with `count` tensors of shape [1].
  class Wrong final : public Model {
   public:
    explicit Wrong(size_t count) : count_(count) { info_.name = "wrong"; }
    const ModelInfo& info() const override { return info_; }
    std::vector<at::Tensor> predict(const ModelInput&) const override {
      return std::vector<at::Tensor>(count_, at::zeros({1}, at::kDouble));
    }

   private:
    ModelInfo info_;
    size_t count_;
  };
  const auto answer = [](size_t count) {
    const Sampler sampler =
        test::sampler_of(std::make_shared<Wrong>(count), test::schedule_of(NoiseKind::VariancePreserving, 3),
                         std::make_shared<Euler>(), 2.0);
    return test::failure([&] { sampler.sample({.prompt = test::prompt_of(), .noise = test::latents()}); });
  };
  CHECK_THAT(answer(0), test::Contains("model 'wrong': expected 2 outputs, one per branch, got 0"));
  CHECK_THAT(answer(1), test::Contains("expected 2 outputs, one per branch, got 1"));
  CHECK_THAT(answer(2), test::Contains("expected an output of shape [2,4,8,8], got [1]"));
}

TEST_CASE("A window's fractions mean the step they name", "[unit]") {
  for (int n : {10, 50, 100})
    for (int i = 0; i < n; ++i) {
      const StepWindow from{.start = static_cast<double>(i) / n};
      CAPTURE(i, n);
      CHECK(from.contains(i, n));
      CHECK_FALSE((i > 0 && from.contains(i - 1, n)));
    }
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
