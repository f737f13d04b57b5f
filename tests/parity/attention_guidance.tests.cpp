// Normalized attention guidance: the equation on tensors, whole runs of the families against diffusers'
// wrapped pipelines (tools/golden/attention_guidance.py), and what composes with it.
#include <glint/ops/attention_scope.hpp>

#include "tests/support/attention.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/families.hpp"
#include "tests/support/report.hpp"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;
using test::largest_difference;

// --- One layer
// ------------------------------------------------------------------------------------------------

/// A layer of a network, as an exported one calls it.
at::Tensor layer(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  using Signature =
      at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                 double, bool, std::optional<double>, bool, int64_t);
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("glint::attention", "").typed<Signature>();
  return op.call(q, k, v, std::nullopt, 0.0, false, std::nullopt, false, 0);
}

at::Tensor stacked(const at::Tensor& a, const at::Tensor& b) {
  return at::cat(std::vector<at::Tensor>{a, b});
}

/// Two rows of one token each, whose outputs are their values: attention to a single key.
struct OneToken {
  at::Tensor q = at::full({2, 2, 1, 2}, 0.5), k = at::full({2, 2, 1, 2}, 1.0), v;
  GuidedRows rows{.text = TextTokens::Cross, .text_length = 1, .rows = 2, .samples = 1, .pairs = {{0, 1}}};

  /// `prompt` and `negative` are the values of all heads, [4].
  OneToken(const std::vector<float>& prompt, const std::vector<float>& negative) {
    const auto row = [](std::vector<float> values) {
      return at::from_blob(values.data(), {1, 2, 1, 2}, at::kFloat).clone();
    };
    v = stacked(row(prompt), row(negative));
  }

  std::vector<float> result(const NormalizedGuidance& options) {
    rows.options = options;
    const AttentionScope scope({}, nullptr, &rows);
    const at::Tensor out = layer(q, k, v);
    CHECK(scope.guided_calls() == 1);
    CHECK(at::equal(out[0], out[1]));  // one image stream
    const at::Tensor flat = out[0].contiguous().flatten();
    return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
  }
};

TEST_CASE("A token's output follows the equation, its norm over all heads", "[parity]") {
  // z+ = (1,1,1,1), z- = (0,1,1,2): g = z+ + 2 (z+ - z-) = (3,1,1,-1), |g| = 6 = 1.5 |z+|.
  OneToken token({1, 1, 1, 1}, {0, 1, 1, 2});
  CHECK(token.result({.scale = 3, .tau = 2, .alpha = 1}) == std::vector<float>{3, 1, 1, -1});
  CHECK(token.result({.scale = 3, .tau = 2, .alpha = 0.5}) == std::vector<float>{2, 1, 1, 0});
  CHECK(token.result({.scale = 3, .tau = 0.75, .alpha = 1}) == std::vector<float>{1.5, 0.5, 0.5, -0.5});
}

TEST_CASE("Outputs of zero stay finite", "[parity]") {
  CHECK(OneToken({0, 0, 0, 0}, {0, 0, 0, 0}).result({}) == std::vector<float>{0, 0, 0, 0});
  // z+ = 0: tau |z+| = 0 leaves nothing of g.
  CHECK(OneToken({0, 0, 0, 0}, {1, 0, 0, 0}).result({}) == std::vector<float>{0, 0, 0, 0});
  // g = 0 as z+ = 1, z- = 2 and scale = 2.
  CHECK(OneToken({1, 1, 1, 1}, {2, 2, 2, 2}).result({.scale = 2, .alpha = 0.5}) ==
        std::vector<float>{0.5, 0.5, 0.5, 0.5});
}

TEST_CASE("Only image tokens of layers that read the prompt change", "[parity]") {
  const test::Inputs x = test::inputs(31, 10, 8);
  const at::Tensor q = stacked(x.q, x.q.flip(2)), k = stacked(x.k, x.k.flip(2)), v = stacked(x.v, x.v.mul(2));
  const int64_t rows = q.size(0), half = rows / 2;
  const at::Tensor plain = layer(q, k, v);
  GuidedRows guided{.text_length = 4, .image_length = 6, .rows = rows, .samples = half, .pairs = {{0, half}}};
  const auto changed = [&](TextTokens text) {
    guided.text = text;
    const AttentionScope scope({}, nullptr, &guided);
    return layer(q, k, v).ne(plain).any(3).any(1);  // [R,N]
  };
  CHECK_FALSE(changed(TextTokens::Cross).any().item<bool>());  // ten keys are not the four of the text
  const at::Tensor first = changed(TextTokens::First), last = changed(TextTokens::Last);
  CHECK_FALSE(first.narrow(1, 0, 4).any().item<bool>());
  CHECK(first.narrow(1, 4, 6).all().item<bool>());
  CHECK(last.narrow(1, 0, 6).all().item<bool>());
  CHECK_FALSE(last.narrow(1, 6, 4).any().item<bool>());
  guided.image_length = 10;  // a layer of the image tokens alone
  CHECK_FALSE(changed(TextTokens::Last).any().item<bool>());
  guided = {.text = TextTokens::First, .text_length = 4, .image_length = 6, .rows = rows + 1};
  const AttentionScope scope({}, nullptr, &guided);
  CHECK_THROWS_WITH(layer(q, k, v), Contains("nag: expected attention over a batch of"));
}

TEST_CASE("Gradients flow through the guidance", "[parity]") {
  const auto values = [](uint64_t seed) {
    return test::inputs(seed, 3, 4).q.narrow(1, 0, 2).to(at::kDouble);
  };
  const auto twice = [](const at::Tensor& one) { return stacked(one, one.flip(2).mul(0.7)).contiguous(); };
  const at::Tensor q = twice(values(41)), k = twice(values(42)), v = twice(values(43)),
                   along = twice(values(44));
  const int64_t half = q.size(0) / 2;
  GuidedRows guided{.options = {.tau = 1.1, .alpha = 0.6},
                    .text = TextTokens::Cross,
                    .text_length = 3,
                    .rows = q.size(0),
                    .samples = half,
                    .pairs = {{0, half}}};
  const AttentionScope scope({}, nullptr, &guided);
  const auto sum = [&](const at::Tensor& query) { return layer(query, k, v).pow(2).sum(); };
  const at::Tensor leaf = q.clone().set_requires_grad(true);
  sum(leaf).backward();
  const double step = 1e-6;
  const double expected =
      (sum(q.add(along, step)).item<double>() - sum(q.sub(along, step)).item<double>()) / (2 * step);
  CHECK(std::abs(expected) > 1e-3);
  // Central differences: their error is of the order of step^2 and of rounding / step.
  CHECK(leaf.grad().mul(along).sum().item<double>() == Approx(expected).epsilon(1e-6));
  CHECK(scope.guided_calls() == 3);
}

// --- Whole runs
// ------------------------------------------------------------------------------------------------

const NormalizedGuidance kGolden{.scale = 5, .tau = 1.2, .alpha = 0.5};

/// The run of attention_guidance.py.
GenerateRequest golden_request(const std::string& family, const at::Tensor& noise) {
  GenerateRequest request{.prompts = {"a small golden fox in the snow"},
                          .negative = "blurry",
                          .steps = 4,
                          .guidance = family == "flux" ? 3.5 : 1.0,
                          .with = {kGolden},
                          .noise = noise,
                          .decode = false};
  if (family == "wan") request.schedule.emplace("shift", 3.0);
  return request;
}

TEST_CASE("Guided runs equal diffusers' with wrapped attention processors", "[parity]") {
  for (const char* family : {"sdxl", "sd3", "flux", "wan"})
    for (const char* manifest : {"model.json", "pt2.json"}) {
      CAPTURE(family, manifest);
      const TensorMap golden =
          read_safetensors(test::data(std::string("families/") + family + "/nag.safetensors"));
      const test::FamilyBundle files(family, manifest);
      const Pipeline pipeline(files.load());
      const SampleResult run = pipeline.generate(golden_request(family, golden.at("noise"))).sample;
      const double difference = largest_difference(run.latents, golden.at("latents"));
      test::report("{:5} {:10} with nag, largest difference of latents {:.1e}", family, manifest, difference);
      CHECK(difference < 1e-4);  // as in families.tests.cpp: float32 against float64
      // TorchScript networks whose text has layers of its own run those alone.
      const bool apart = pipeline.bundle().model()->info().text_apart;
      CHECK(apart == ((family == std::string_view("sdxl") || family == std::string_view("wan")) &&
                      manifest == std::string_view("model.json")));
      CHECK(run.nfe() == (apart ? 4 : 2 * 4));
    }
}

const Pipeline& emoji() {
  static const Pipeline pipeline(Bundle::load(test::source_dir() / "models/emoji-flow"));
  return pipeline;
}

GenerateRequest emoji_request(std::vector<Method> with, double guidance = 1.0) {
  return {.prompts = {"red apple"},
          .negative = "green",
          .steps = 3,
          .guidance = guidance,
          .with = std::move(with),
          .seed = 3,
          .decode = false};
}

SampleResult sampled(std::vector<Method> with, double guidance = 1.0) {
  return emoji().generate(emoji_request(std::move(with), guidance)).sample;
}

TEST_CASE("Off is bit-identical, and the cost is what changes", "[parity]") {
  const SampleResult plain = sampled({});
  for (const OptionValues& off :
       {OptionValues{{"scale", 1}}, OptionValues{{"alpha", 0}}, OptionValues{{"stop", 0}}}) {
    const SampleResult same = sampled({{"nag", off}});
    CHECK(at::equal(same.latents, plain.latents));
    CHECK(same.usage.rows == plain.usage.rows);
  }
  const SampleResult guided = sampled({"nag"});
  CHECK(largest_difference(guided.latents, plain.latents) > 0.01);
  CHECK(guided.nfe() == 2 * 3);
  CHECK(guided.usage.calls == 3);
  CHECK(sampled({{"nag", {{"start", 0.34}, {"stop", 0.67}}}}).nfe() == 3 + 1);
  CHECK(sampled({"nag"}, 4.0).nfe() == 3 * 3);  // beside classifier-free guidance
}

TEST_CASE("The prompt as negative prompt changes nothing but rounding", "[parity]") {
  GenerateRequest request = emoji_request({"nag"});
  request.negative = "red apple";
  const at::Tensor plain = sampled({}).latents;
  // g = 5 z - 4 z in float32, over twelve layers and three steps.
  CHECK(largest_difference(emoji().generate(request).sample.latents, plain) < 1e-4);
}

TEST_CASE("A sample is the same in any batch, and a repeat the same to the bit", "[parity]") {
  GenerateRequest request = emoji_request({"nag", {"cfg", {{"scale", 3}}}});
  request.guidance.reset();
  request.count = 3;
  const at::Tensor together = emoji().generate(request).sample.latents;
  CHECK(at::equal(emoji().generate(request).sample.latents, together));
  request.batch = 1;
  CHECK(largest_difference(emoji().generate(request).sample.latents, together) < 1e-4);
}

TEST_CASE("Strategies, caches, sparse attention and adapters run with it", "[parity]") {
  const at::Tensor alone = sampled({"nag"}, 3.0).latents;
  const std::vector<Method> others[] = {{"z-sampling"},
                                        {{"z-sampling", {{"form", "direct"}}}},
                                        {"golden-noise"},
                                        {{"step-mask", {{"mask", "101"}}}},
                                        {{"pisa", {{"min_tokens", 64}, {"first_dense_layers", 0}}}},
                                        {"apg"},
                                        {{"w2sd", {{"adapter", "strong"}, {"strong_adapter", 1.0}}}}};
  for (std::vector<Method> with : others) {
    with.emplace_back("nag");
    CAPTURE(with.front().choice()->name);
    const double guidance = 3.0;
    const SampleResult both = sampled(with, guidance);
    CHECK(largest_difference(both.latents, alone) > 1e-6);
    with.pop_back();
    CHECK(largest_difference(both.latents, sampled(with, guidance).latents) > 1e-4);
  }
  GenerateRequest adapted = emoji_request({"nag"}, 3.0);
  adapted.adapters = {{"strong", 1.0}};
  CHECK(largest_difference(emoji().generate(adapted).sample.latents, alone) > 1e-4);
}

TEST_CASE("What cannot be guided is refused by name", "[parity]") {
  CHECK_THROWS_WITH(sampled({{"nag", {{"scale", 0.5}}}}),
                    Contains("nag.scale: expected a value in [1, 1000]"));
  CHECK_THROWS_WITH(sampled({NormalizedGuidance{.tau = -1}}), Contains("nag.tau: expected"));
  CHECK_THROWS_WITH(sampled({"nag", "nag"}), Contains("with: expected one attention guidance at most"));
  const test::FamilyBundle unknown("sdxl", "model.json", [](nlohmann::json& manifest) {
    manifest["components"]["denoiser"]["text_tokens"] = "last";
  });
  const TensorMap golden = read_safetensors(test::data("families/sdxl/nag.safetensors"));
  CHECK_THROWS_WITH(Pipeline(unknown.load()).generate(golden_request("sdxl", golden.at("noise"))),
                    Contains("reads the prompt's 77 tokens as text_tokens says, last"));
  const Pipeline plain(Bundle::load(test::source_dir() / "models/emoji-flow", {.attention = false}));
  CHECK_THROWS_WITH(plain.generate(emoji_request({"nag"})),
                    Contains("nag: model 'emoji-flow' has no attention layers that can be changed"));
}

TEST_CASE("A negative prompt that only nag reads is not said to have no effect", "[parity]") {
  CHECK(emoji().generate(emoji_request({})).negative_without_effect);
  CHECK_FALSE(emoji().generate(emoji_request({"nag"})).negative_without_effect);
  CHECK(emoji().generate(emoji_request({{"nag", {{"scale", 1}}}})).negative_without_effect);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
