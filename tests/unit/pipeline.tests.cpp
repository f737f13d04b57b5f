#include <glint/guidance/cfg.hpp>
#include <glint/guidance/filters.hpp>
#include <glint/pipeline/pipeline.hpp>
#include <glint/solver/first_order.hpp>
#include <glint/step/z_sampling.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <thread>

#include <limits>

using namespace glint;
using test::Contains;
using test::failure;

namespace GLINT_TEST_FILE {

/// The tiny bundle behind a pipeline, with changes to its manifest.
struct TinyPipeline {
  test::TemporaryFolder folder;
  explicit TinyPipeline(const std::function<void(nlohmann::json&)>& change = [](nlohmann::json&) {}) {
    auto manifest = test::tiny_manifest();
    manifest["latent"]["height"] = manifest["latent"]["width"] = 8;
    change(manifest);
    test::write_bundle(folder.path(), manifest);
  }
  Pipeline operator()() const { return Pipeline(Bundle::load(folder.path())); }
};

GenerateRequest request(int steps = 3) { return {.prompts = {"red star"}, .steps = steps, .seed = 3}; }

TEST_CASE("A pipeline goes from prompt to pictures and says what it did", "[unit]") {
  const TinyPipeline files;
  const Pipeline pipeline = files();
  GenerateRequest r = request();
  r.count = 3;
  r.batch = 2;
  const GenerateResult result = pipeline.generate(r);
  REQUIRE(result.images.size() == 3);
  CHECK(result.images[0].width == 16);
  CHECK(result.sample.latents.sizes() == at::IntArrayRef({3, 4, 8, 8}));
  CHECK(result.sample.usage.calls == 2 * 3);  // two batches of three steps
  CHECK(result.sample.usage.rows == 3 * 3 * 2);
  CHECK(result.solver == "flow-euler");
  CHECK(result.guidance == 3.0);
  CHECK(result.seconds.at("total") >= result.seconds.at("sample"));
}

TEST_CASE("Preloading reads what the request needs and nothing else", "[unit]") {
  const TinyPipeline files([](nlohmann::json& m) {
    m["components"]["weak_denoiser"] = m["components"]["denoiser"];
    m["components"]["weak_denoiser"]["sha256"] = std::string(64, '0');  // refused as soon as it is read
  });
  const Pipeline pipeline = files();
  pipeline.preload(request());
  GenerateRequest weak = request();
  weak.with = {{"w2sd", {{"weak_model", "weak_denoiser"}}}};
  CHECK_THAT(failure([&] { pipeline.preload(weak); }), Contains("components.weak_denoiser"));
  for (const auto& [name, component] : pipeline.bundle().manifest().components)
    std::filesystem::remove(files.folder.path() / component.file);
  CHECK(pipeline.generate(request()).images.size() == 1);
}

TEST_CASE("The batch size changes nothing but time and memory", "[unit]") {
  const TinyPipeline files;
  const Pipeline pipeline = files();
  GenerateRequest r = request();
  r.count = 4;
  r.batch = 4;
  const at::Tensor together = pipeline.generate(r).sample.latents;
  r.batch = 1;
  const at::Tensor alone = pipeline.generate(r).sample.latents;
  // Matrix products of other heights round differently in the last bits.
  CHECK((together - alone).abs().max().item<double>() < 1e-5);
}

TEST_CASE("Guidance is the rule's scale unless the rule says otherwise", "[unit]") {
  const TinyPipeline files;
  const Pipeline pipeline = files();
  GenerateRequest r = request();
  r.guidance = 2.0;
  const at::Tensor by_guidance = pipeline.generate(r).sample.latents;
  r.guidance.reset();
  r.with = {parse_choice("cfg:scale=2")};
  const GenerateResult by_rule = pipeline.generate(r);
  CHECK(at::equal(by_rule.sample.latents, by_guidance));
  CHECK(by_rule.guidance == 2.0);
  r.guidance = 7.0;
  CHECK_THAT(failure([&] { pipeline.generate(r); }),
             Contains("guidance: rule 'cfg' is given a scale of its own"));
  r.with.clear();
  CHECK_FALSE(at::equal(pipeline.generate(r).sample.latents, by_guidance));
  r.guidance = 1.0;
  const GenerateResult off = pipeline.generate(r);
  CHECK(off.sample.usage.rows == 3);  // no unconditional branch
  // Whoever writes 0 means no guidance, as diffusers' pipelines do; by name it is the null prompt alone.
  for (double scale : {0.0, 0.7, -1.0}) {
    CAPTURE(scale);
    r.guidance = scale;
    const GenerateResult result = pipeline.generate(r);
    CHECK(at::equal(result.sample.latents, off.sample.latents));
    CHECK(result.guidance == 1.0);
    r.with = {"apg"};
    CHECK(pipeline.generate(r).guidance == 1.0);
    r.with.clear();
  }
  r.guidance.reset();
  r.with = {parse_choice("cfg:scale=0")};
  const GenerateResult null = pipeline.generate(r);
  CHECK_FALSE(at::equal(null.sample.latents, off.sample.latents));
  CHECK(null.sample.usage.rows == 3);
}

TEST_CASE("A negative prompt takes the negative prompt's place", "[unit]") {
  const TinyPipeline files;
  const Pipeline pipeline = files();
  GenerateRequest r = request();
  const at::Tensor plain = pipeline.generate(r).sample.latents;
  r.negative = "blue";
  CHECK_FALSE(at::equal(pipeline.generate(r).sample.latents, plain));
  r.negative = r.prompts.front();  // nothing to steer away from but itself: guidance does nothing
  const at::Tensor itself = pipeline.generate(r).sample.latents;
  r.guidance = 1.0;
  CHECK((pipeline.generate(r).sample.latents - itself).abs().max().item<double>() < 1e-4);
}

TEST_CASE("W2SD's predictors may have prompts of their own", "[unit]") {
  const TinyPipeline files;
  const Pipeline pipeline = files();
  const auto sampled = [&](const Choice& strategy) {
    GenerateRequest r = request(4);
    r.guidance = 1.0;
    r.with = {strategy};
    return pipeline.generate(r).sample;
  };
  // The empty prompt is the negative prompt, so this gap is the one between guidance 1 and guidance 0.
  const SampleResult prompts =
      sampled({"w2sd", {{"weak_prompt", ""}, {"weak_guidance", "unset"}, {"form", "direct"}}});
  const SampleResult scales = sampled({"z-sampling", {{"guidance_inverse", 0.0}, {"form", "direct"}}});
  CHECK((prompts.latents - scales.latents).abs().max().item<double>() < 1e-4);
  CHECK(prompts.usage.rows == scales.usage.rows);
  const SampleResult refined = sampled({"w2sd", {{"strong_prompt", "small red star"}, {"form", "direct"}}});
  CHECK_FALSE(at::equal(refined.latents, prompts.latents));
  CHECK_THAT(failure([] {
               builtins().step({"w2sd", {{"weak_prompt", "star"}}});
             }),
             Contains("w2sd: needs a model bundle to encode a prompt"));
}

TEST_CASE("Methods are names or objects, in one list", "[unit]") {
  const TinyPipeline files;
  const Pipeline pipeline = files();
  const auto latents = [&](std::vector<Method> with, std::optional<double> guidance = {}) {
    GenerateRequest r = request();
    r.with = std::move(with);
    r.guidance = guidance;
    return pipeline.generate(r).sample.latents;
  };
  const at::Tensor by_name =
      latents({{"cfg", {{"scale", 2}}}, "z-sampling", {"rescale", {{"phi", 0.5}}}, {"dense"}});
  const at::Tensor by_object = latents({z_sampling(), std::make_shared<const Rescale>(RescaleOptions{0.5}),
                                        std::make_shared<const Cfg>(2.0), AttentionPolicy{}});
  CHECK(at::equal(by_name, by_object));
  const auto refused = [&](std::vector<Method> with, std::optional<double> guidance = {}) {
    return failure([&] { latents(std::move(with), guidance); });
  };
  CHECK_THAT(refused({"cfg", "apg"}), Contains("with: expected one rule at most, got two"));
  CHECK_THAT(refused({"pisa", "isa"}), Contains("with: expected one attention policy at most, got two"));
  CHECK_THAT(refused({"euler"}), Contains("with: 'euler' is a solver; give it as the solver"));
  CHECK_THAT(refused({"z-samplin"}), Contains("unknown method 'z-samplin'; did you mean 'z-sampling'?"));
  CHECK_THAT(refused({std::make_shared<const Cfg>(2.0)}, 3.0),
             Contains("guidance: the rule is an object with a scale of its own"));
}

TEST_CASE("A bundle's filters belong to its solver and come last", "[unit]") {
  const TinyPipeline plain, own([](nlohmann::json&m) { m["default_filters"] = {"clip:range=0.5"}; });
  const auto latents = [](const Pipeline& pipeline, std::vector<Method> with,
                          std::optional<Choice> solver = {}) {
    GenerateRequest r = request();
    r.with = std::move(with);
    r.solver = std::move(solver);
    return pipeline.generate(r).sample.latents;
  };
  const Method narrow("clip", {{"range", 0.5}}), wide("clip", {{"range", 0.8}}), rescale("rescale");
  const Pipeline without = plain(), with = own();
  CHECK(at::equal(latents(with, {}), latents(without, {narrow})));
  CHECK_FALSE(at::equal(latents(with, {}), latents(without, {})));
  CHECK(at::equal(latents(with, {rescale}), latents(without, {rescale, narrow})));
  CHECK(at::equal(latents(with, {wide}), latents(without, {wide})));
  const Choice solver{.name = "flow-euler"};
  CHECK(at::equal(latents(with, {}, solver), latents(without, {}, solver)));
  const TinyPipeline wrong([](nlohmann::json& m) { m["default_filters"] = {"cfg"}; });
  CHECK_THAT(failure([&] { latents(wrong(), {}); }), Contains("cfg"));
}

TEST_CASE("Several prompts are sampled in one batch, each as by itself", "[unit]") {
  const TinyPipeline files;
  const Pipeline pipeline = files();
  GenerateRequest r = request();
  r.prompts = {"red star", "blue circle", "red star"};
  r.count = 2;
  r.effective_guidance = true;
  const GenerateResult all = pipeline.generate(r);
  CHECK(all.images.size() == 6);
  CHECK(all.prompts.size() == 3);
  CHECK(all.sample.usage.calls == 3 + 3);  // the run's and the measurement's: one batch of six
  CHECK(all.sample.nfe() == 3 * 2 + 3 * 2);
  CHECK(all.sample.effective_guidance.size() == 6);
  CHECK(at::equal(all.sample.latents.slice(0, 0, 2), all.sample.latents.slice(0, 4, 6)));
  for (size_t p = 0; p < 2; ++p) {
    GenerateRequest one = r;
    one.prompts = {r.prompts[p]};
    // Matrix products of other heights round differently in the last bits.
    const at::Tensor alone = pipeline.generate(one).sample.latents,
                     together = all.sample.latents.narrow(0, static_cast<int64_t>(2 * p), 2);
    CHECK((together - alone).abs().max().item<double>() < 1e-5);
  }
  CHECK_THAT(failure([&] {
               r.prompts.clear();
               pipeline.generate(r);
             }),
             Contains("prompts: expected at least one, got none"));
}

TEST_CASE("A request is resolved once: one solver, one shape, one sampler", "[unit]") {
  static std::atomic<int> made = 0;
  constexpr EntryInfo info{.kind = "solver", .name = "counted", .summary = "s", .cost = "c", .source = "s"};
  Registry registry = builtins();
  registry.add<NoOptions>(info, [](const NoOptions&) -> std::shared_ptr<const Solver> {
    ++made;
    return std::make_shared<const FlowEuler>();
  });
  const TinyPipeline files;
  const Pipeline pipeline(Bundle::load(files.folder.path()), registry);
  GenerateRequest r = request();
  r.solver = {"counted"};
  r.count = 5;
  r.batch = 2;
  CHECK(pipeline.generate(r).images.size() == 5);
  CHECK(made == 1);
}

TEST_CASE("CFG++ takes scales between 0 and 1, wherever they are given", "[unit]") {
  const TinyPipeline files;
  const Pipeline pipeline = files();
  GenerateRequest r = request();
  r.solver = {"cfgpp"};
  CHECK(pipeline.generate(r).guidance == 0.6);
  r.guidance = 5.0;
  const char* refused = "guidance: solver 'cfgpp' takes scales in [0, 1], got 5";
  CHECK_THAT(failure([&] { pipeline.generate(r); }), Contains(refused));
  r.guidance.reset();
  r.with = {{"cfg", {{"scale", "5"}}}};
  CHECK_THAT(failure([&] { pipeline.generate(r); }), Contains(refused));
  r.with.clear();
  r.solver = {"cfgpp", {{"order", 2}, {"eta", 0.5}}};
  CHECK_THAT(failure([&] { pipeline.generate(r); }), Contains("cfgpp.eta: order 2 has no fresh noise"));
}

TEST_CASE("Requests that cannot be met leave the pipeline usable", "[unit]") {
  const TinyPipeline files;
  const Pipeline pipeline = files();
  const at::Tensor before = pipeline.generate(request()).sample.latents;
  const auto refused = [&](const std::function<void(GenerateRequest&)>& change) {
    GenerateRequest r = request();
    change(r);
    return failure([&] { pipeline.generate(r); });
  };
  CHECK_THAT(refused([](auto& r) { r.steps = 0; }), Contains("steps: expected 1 to 1000, got 0"));
  CHECK_THAT(refused([](auto& r) { r.count = 0; }), Contains("count"));
  CHECK_THAT(refused([](auto& r) { r.batch = 0; }), Contains("batch"));
  CHECK_THAT(refused([](auto& r) { r.width = 7; }),
             Contains("width: expected a positive multiple of 2, got 7"));
  CHECK_THAT(refused([](auto& r) { r.prompts = {"\xff"}; }), Contains("UTF-8"));
  CHECK_THAT(refused([](auto& r) { r.solver = Choice{"eulr"}; }), Contains("did you mean 'euler'?"));
  CHECK_THAT(refused([](auto& r) {
               r.noise = at::randn({1, 3, 8, 8});
             }),
             Contains("noise: expected [B,4,H,W] with B >= 1, got [1,3,8,8]"));
  CHECK_THAT(refused([](auto& r) {
               r.schedule = {{"sigmas", std::string("karras")}};
               r.solver = Choice{"unipc"};
             }),
             Contains("sigmas: karras needs sigma_min and sigma_max for unipc on a flow model"));
  CHECK_THAT(refused([](auto& r) {
               r.noise = at::empty({0, 4, 8, 8});
             }),
             Contains("noise: expected [B,4,H,W] with B >= 1"));
  CHECK_THAT(refused([](auto& r) { r.noise = at::empty({}); }), Contains("noise: expected [B,4,H,W]"));
  CHECK_THAT(refused([](auto& r) {
               r.schedule = {{"spacing", "trailing"}};
             }),
             Contains("schedule.spacing: does not apply to a flow model"));
  CHECK_THAT(refused([](auto& r) { r.width = r.height = int64_t{1} << 40; }),
             Contains("height: expected at most 268435456, got 1099511627776"));
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  CHECK_THAT(refused([](auto& r) { r.count = kHuge; }), Contains("count: expected at most 2147483648"));
  CHECK_THAT(refused([](auto& r) { r.batch = kHuge; }), Contains("batch: expected at most 2147483648"));
  CHECK_THAT(refused([](auto& r) { r.first = kHuge; }), Contains("first: expected at most 2147483648"));
  CHECK_THAT(refused([](auto& r) { r.first = 1000000; }), Contains("first: expected 0 to "));
  CHECK_THAT(refused([](auto& r) { r.limit = 0; }), Contains("limit: expected at least 1, got 0"));
  CHECK_THAT(refused([](auto& r) {
               r.prompts = {"a", std::string(kLongestPrompt + 1, 'x')};
             }),
             Contains("prompts[1]: expected at most 65536 bytes, got 65537"));
  CHECK_THAT(refused([](auto& r) { r.negative = "\xff"; }), Contains("negative: not UTF-8"));
  CHECK_THAT(
      refused([](auto& r) {
        r.conditioning = Prompt{.cond = {.tokens = at::randn({1, 8, 16}), .pooled = at::randn({1, 8})}};
      }),
      Contains("conditioning.null_tokens"));
  struct Stop final : Observer {
    bool keep_going() override { return false; }
  } stop;
  CHECK_THAT(refused([&](auto& r) { r.observer = &stop; }), Contains("Cancelled"));
  CHECK(at::equal(pipeline.generate(request()).sample.latents, before));
}

TEST_CASE("Cancelling after the last step still stops before pictures are decoded", "[unit]") {
  const TinyPipeline files;
  struct StopAfterSampling final : Observer {
    bool sampled = false;
    bool keep_going() override { return !sampled; }
    bool on_step(const StepEvent& event) override {
      sampled = event.step + 1 == event.steps;
      return true;
    }
  } stop;
  GenerateRequest r = request();
  r.observer = &stop;
  CHECK_THAT(failure([&] { files().generate(r); }), Contains("Cancelled") && Contains("picture 1"));
}

TEST_CASE("Part of a request makes the same samples, and each is told when it is decoded", "[unit]") {
  const TinyPipeline files;
  GenerateRequest r = request();
  r.prompts = {"red star", "blue circle"};
  r.count = 3;
  r.batch = 2;
  std::vector<Image> told;
  r.on_decoded = [&](const GenerateResult& made) {
    told.push_back(made.images.back());
    CHECK(made.images.size() == told.size());
    CHECK(made.sample.latents.size(0) >= static_cast<int64_t>(told.size()));
    CHECK(made.solver == "flow-euler");
  };
  const GenerateResult whole = files().generate(r);
  CHECK((told == whole.images));
  told.clear();
  r.first = 2;
  r.limit = 2;
  const GenerateResult part = files().generate(r);
  REQUIRE(part.images.size() == 2);
  CHECK(part.images[0] == whole.images[2]);
  CHECK(part.images[1] == whole.images[3]);
  CHECK(at::equal(part.sample.latents, whole.sample.latents.narrow(0, 2, 2)));
  told.clear();
  r.first = 5;
  CHECK(files().generate(r).images.size() == 1);
}

TEST_CASE("A network of one size refuses others by name", "[unit]") {
  const TinyPipeline files([](nlohmann::json& m) { m["latent"]["fixed_size"] = true; });
  GenerateRequest r = request();
  CHECK(files().generate(r).images.size() == 1);
  r.width = 32;
  CHECK_THAT(failure([&] { files().generate(r); }),
             Contains("width: the model makes 16 px and nothing else, got 32"));
}

TEST_CASE("Two threads share one pipeline", "[unit]") {
  const TinyPipeline files;
  const Pipeline pipeline = files();
  const at::Tensor expected = pipeline.generate(request()).sample.latents;
  std::array<at::Tensor, 4> results;
  {
    std::vector<std::jthread> threads;
    for (at::Tensor& result : results)
      threads.emplace_back([&] { result = pipeline.generate(request()).sample.latents; });
  }
  for (const at::Tensor& result : results) CHECK(at::equal(result, expected));
}

TEST_CASE("Baked conditionings need tokens and nothing unknown", "[unit]") {
  const Prompt prompt =
      prompt_from_tensors({{"tokens", at::randn({5, 6})}, {"null_tokens", at::randn({5, 6})}});
  CHECK(prompt.cond.tokens.sizes() == at::IntArrayRef({1, 5, 6}));
  CHECK_FALSE(prompt.cond.pooled.defined());
  CHECK_THAT(failure([] { prompt_from_tensors({}); }), Contains("expected a tensor 'tokens'"));
  CHECK_THAT(failure([] {
               prompt_from_tensors({{"tokens", at::randn({5})}});
             }),
             Contains("expected 2 dimensions"));
  CHECK_THAT(failure([] {
               prompt_from_tensors({{"tokens", at::randn({5, 6})}, {"nul_tokens", at::randn({5, 6})}});
             }),
             Contains("did you mean 'null_tokens'?"));
}

}  // namespace GLINT_TEST_FILE
