// Bundles whose npnet and core2_weak are weights of the released architectures: found, checked, used by name.
#include <glint/bundle/bundle.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/io/sha256.hpp>
#include <glint/sampling/sampler.hpp>
#include <glint/solver/first_order.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/runs.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <nlohmann/json.hpp>

namespace glint {
namespace GLINT_TEST_FILE {

using nlohmann::json;
using test::Contains;
using test::failure;
using test::relative_error;

const std::vector<std::string> kCore2Inputs{"output", "position",    "tokens",
                                            "pooled", "null_tokens", "null_pooled"};

/// The tiny bundle with both networks, and with changes to its manifest.
struct ReleasedBundle {
  test::TemporaryFolder folder;
  explicit ReleasedBundle(const std::function<void(json&)>& change = [](json&) {}) {
    auto manifest = test::tiny_manifest();
    std::filesystem::create_directories(folder.path());
    for (const auto& [role, file, inputs] :
         {std::tuple{"npnet", "npnet.safetensors", std::vector<std::string>{"latents", "tokens"}},
          std::tuple{"core2_weak", "core2.safetensors", kCore2Inputs}}) {
      const auto source = test::data("nets") / file;
      std::filesystem::copy(source, folder / file);
      manifest["components"][role] = {
          {"file", file}, {"backend", "safetensors"}, {"sha256", sha256_file(source)}, {"inputs", inputs}};
    }
    change(manifest);
    test::write_bundle(folder.path(), manifest);
  }
  Bundle load(const LoadOptions& options = {}) const { return Bundle::load(folder.path(), options); }
};

std::string load_failure(const std::function<void(TensorMap&, Metadata&)>& damage,
                         const char* file = "npnet") {
  const test::TemporaryFolder folder;
  Metadata settings;
  TensorMap tensors = read_safetensors(test::data(std::string("nets/") + file + ".safetensors"), &settings);
  damage(tensors, settings);
  write_safetensors(folder / "it.safetensors", tensors, settings);
  return failure([&] { load_network(folder / "it.safetensors", Backend::Safetensors); });
}

TEST_CASE("A safetensors component knows its inputs and computes what its file was recorded with", "[unit]") {
  const ReleasedBundle files;
  const Bundle bundle = files.load();
  const auto vectors = read_safetensors(test::data("nets/vectors.safetensors"));
  CHECK(bundle.network("npnet")->inputs() == std::vector<std::string>{"latents", "tokens"});
  CHECK(bundle.network("core2_weak")->inputs() == kCore2Inputs);
  const at::Tensor golden = bundle.network("npnet")->run(
      {vectors.at("npnet.released.input.latents"), vectors.at("npnet.released.input.tokens")})[0];
  CHECK(relative_error(golden, vectors.at("npnet.released.result")) < 1e-5);
  CHECK_FALSE(golden.requires_grad());
  bundle.preload();
}

TEST_CASE("Precision: NPNet stays in float32 at least, CoRe2's network computes in what is asked for",
          "[unit]") {
  const ReleasedBundle files;
  const auto vectors = read_safetensors(test::data("nets/vectors.safetensors"));
  const auto run = [&](const Network& network, const std::string& name) {
    std::vector<at::Tensor> inputs;
    for (const std::string& input : network.inputs()) inputs.push_back(vectors.at(name + ".input." + input));
    return network.run(inputs)[0];
  };
  const Bundle half = files.load({.dtype = "bfloat16"}), twice = files.load({.dtype = "float64"});
  const auto core2 = vectors.at("core2.first.result"), npnet = vectors.at("npnet.released.result");
  CHECK(relative_error(run(*half.network("npnet"), "npnet.released"), npnet) < 1e-5);
  CHECK(relative_error(run(*twice.network("npnet"), "npnet.released"), npnet) < 1e-5);
  CHECK(relative_error(run(*twice.network("core2_weak"), "core2.first"), core2) < 1e-5);
  const double rounded = relative_error(run(*half.network("core2_weak"), "core2.first"), core2);
  CHECK(rounded > 1e-4);  // it is computed in bfloat16, of 8 bits
  CHECK(rounded < 0.05);
}

TEST_CASE("Inputs that are not the architecture's, and roles that have none, are refused", "[unit]") {
  const ReleasedBundle other([](json& j) { j["components"]["npnet"]["inputs"] = {"tokens", "latents"}; });
  CHECK_THAT(failure([&] { other.load().network("npnet"); }),
             Contains("BadModel: components.npnet.inputs: the network in npnet.safetensors takes [latents, "
                      "tokens], got [tokens, latents]"));
  const ReleasedBundle none([](json& j) { j["components"]["npnet"].erase("inputs"); });
  CHECK_THAT(failure([&] { none.load().network("npnet"); }), Contains("takes [latents, tokens], got []"));
  for (const char* role : {"denoiser", "vae_decoder"}) {
    auto manifest = test::tiny_manifest();
    manifest["components"][role]["backend"] = "safetensors";
    CHECK_THAT(failure([&] { parse_manifest(manifest.dump()); }),
               Contains("expected torchscript | pt2 | aoti, got 'safetensors'"));
  }
  const ReleasedBundle traced([](json& j) { j["components"]["npnet"]["compute"] = "float32"; });
  CHECK_THAT(failure([&] { traced.load(); }), Contains("components.npnet.compute: unknown field"));
}

TEST_CASE("A file that is no network of its architecture says all that is wrong with it", "[unit]") {
  CHECK(load_failure([](TensorMap&, Metadata&) {}) == "no error");
  CHECK_THAT(load_failure([](TensorMap&, Metadata& m) { m.erase("architecture"); }),
             Contains("BadModel: ") && Contains("expected architecture npnet or core2, got ''"));
  CHECK_THAT(load_failure([](TensorMap& t, Metadata&) {
               t.erase("alpha");
               t["beta"] = at::ones({2});
               t["gamma"] = at::ones({1});
             }),
             Contains("missing alpha") && Contains("other shapes: beta [2] (expected [1])") &&
                 Contains("unknown gamma"));
  CHECK_THAT(load_failure([](TensorMap&, Metadata& m) { m["attention"] = "maybe"; }),
             Contains("setting 'attention': expected true or false, got 'maybe'"));
  CHECK_THAT(load_failure([](TensorMap&, Metadata& m) { m.erase("tokens"); }),
             Contains("missing setting 'tokens'"));
  for (const char* bad : {"", "0", "-3", "3.5", "three"})
    CHECK_THAT(load_failure([&](TensorMap&, Metadata& m) { m["tokens"] = bad; }),
               Contains("setting 'tokens': expected a positive integer"));
  CHECK_THAT(load_failure([](TensorMap&, Metadata& m) { m["colour"] = "red"; }),
             Contains("unknown setting colour"));
  CHECK_THAT(load_failure([](TensorMap&, Metadata& m) { m["features"] = "nchw"; }),
             Contains("unet_embedding.upconv.weight [4,2,1,1] (expected [4,32,1,1])"));
  CHECK_THAT(load_failure([](TensorMap&, Metadata& m) { m["image"] = "33"; }), Contains("stage 0: "));
  CHECK_THAT(load_failure([](TensorMap& t, Metadata&) { t.erase("proj_out.lora_a"); }, "core2"),
             Contains("missing tensor proj_out.lora_a"));
  CHECK_THAT(load_failure([](TensorMap&, Metadata& m) { m["svd_rank"] = "11"; }, "core2"),
             Contains("sizes that do not go together") && Contains("svd_rank 11"));
  CHECK_THAT(load_failure([](TensorMap&, Metadata& m) { m["text_order"] = "any"; }, "core2"),
             Contains("expected null-first or prompt-first, got 'any'"));
}

TEST_CASE("A damaged component is refused or runs; nothing else happens", "[unit]") {
  const std::string good = test::read_bytes(test::data("nets/npnet.safetensors"));
  std::mt19937 random(5);
  const test::TemporaryFolder folder;
  for (int i = 0; i < 60; ++i) {
    // Damage where the structure is: the header is some 8 kB long.
    std::string bad = good;
    bad.replace(0, 9000, test::mutated(good.substr(0, 9000), random));
    test::write_bytes(folder / "it.safetensors", bad);
    const auto error = test::error_of([&] { load_network(folder / "it.safetensors", Backend::Safetensors); });
    if (error) CHECK(error->code() == ErrorCode::BadModel);
  }
}

TEST_CASE("Latents and prompts a network was not trained for are told with both sizes", "[unit]") {
  const ReleasedBundle files;
  const auto npnet = files.load().network("npnet"), core2 = files.load().network("core2_weak");
  const at::Tensor tokens = at::ones({1, 3, 6});
  CHECK_THAT(
      failure([&] {
        npnet->run({at::ones({1, 4, 16, 8}), tokens});
      }),
      Contains("ShapeMismatch: ") && Contains("trained for 4 x 8 x 8 alone, the model has [1,4,16,8]"));
  CHECK_THAT(failure([&] {
               npnet->run({at::ones({1, 4, 8, 8}), at::ones({1, 6, 3})});
             }),
             Contains("prompts of 3 tokens of width 6, the model's are [1,6,3]"));
  CHECK_THAT(failure([&] { npnet->run({tokens}); }), Contains("expected latents and tokens, got 1 inputs"));
  const auto run = [&](int64_t channels, int64_t side, int64_t length, int64_t pooled) {
    return failure([&] {
      core2->run({at::ones({1, channels, side, 4}), at::full({1}, 0.5), at::ones({1, length, 24}),
                  at::ones({1, pooled}), at::ones({1, length, 24}), at::ones({1, pooled})});
    });
  };
  CHECK(run(4, 6, 5, 10) == "no error");
  CHECK_THAT(run(3, 6, 5, 10), Contains("trained for [B,4,H,W]") && Contains("the model's is [1,3,6,4]"));
  CHECK_THAT(run(4, 5, 5, 10), Contains("multiples of 2 up to 24"));
  CHECK_THAT(run(4, 26, 5, 10), Contains("multiples of 2 up to 24"));
  CHECK_THAT(run(4, 6, 7, 10),
             Contains("tokens: the network was trained for prompts of 5 tokens of width 24"));
  CHECK_THAT(run(4, 6, 5, 9), Contains("pooled vectors of width 10, the model's are [1,9]"));
  CHECK_THAT(failure([&] { core2->with("colour", "red"); }), Contains("InvalidArgument: colour: "));
  CHECK_THAT(failure([&] { core2->with("text", "red"); }),
             Contains("expected legacy-rows or columns, got 'red'"));
}

/// A run of a small model, its prompt in the networks' shapes.
SampleResult run(const Bundle& bundle, const std::optional<Choice>& rule, const std::optional<Choice>& noise,
                 int64_t tokens, int64_t width) {
  const auto prompt = [&](uint64_t seed) {
    return Conditioning{.tokens = NoiseStream(seed, 1).normal({tokens, width}),
                        .pooled = NoiseStream(seed + 10, 1).normal({10})};
  };
  const BuildContext context{.bundle = &bundle};
  const auto model = test::model_of(Parameterization::Velocity, NoiseKind::Flow,
                                    [](const at::Tensor& x, const Level&) { return x.mul(0.3); });
  SamplerParts parts{.predictor = {.model = model, .rule = std::make_shared<Cfg>(1.0)},
                     .schedule = test::schedule_of(NoiseKind::Flow, 3),
                     .solver = std::make_shared<Euler>()};
  if (rule) parts.predictor.rule = builtins().rule(*rule, context);
  if (noise) parts.noise_strategies = {builtins().noise(*noise, context)};
  return Sampler(parts).sample(
      {.prompt = {prompt(1), prompt(2)}, .noise = NoiseStream(3, 2).normal({4, 8, 8})});
}

TEST_CASE("Rule core2 and noise golden-noise run on the released architectures", "[unit]") {
  const ReleasedBundle files;
  const Bundle bundle = files.load();
  const at::Tensor plain = run(bundle, std::nullopt, std::nullopt, 5, 24).latents;
  const SampleResult fast = run(bundle, Choice{"core2", {{"slow_steps", 0}}}, std::nullopt, 5, 24);
  CHECK(fast.usage.rows == 2 * 3);
  CHECK(relative_error(fast.latents, plain) > 1e-2);
  CHECK(run(bundle, Choice{"core2", {{"slow_steps", 2}}}, std::nullopt, 5, 24).usage.rows == 2 * (3 + 2));
  const at::Tensor columns =
      run(bundle, Choice{"core2", {{"slow_steps", 0}, {"text", "columns"}}}, std::nullopt, 5, 24).latents;
  CHECK(relative_error(columns, fast.latents) > 1e-4);

  const at::Tensor golden = run(bundle, std::nullopt, Choice{"golden-noise"}, 3, 6).latents;
  CHECK(relative_error(golden, plain) > 1e-2);
  const at::Tensor without =
      run(bundle, std::nullopt, Choice{"golden-noise", {{"svd_attention", false}}}, 3, 6).latents;
  CHECK(relative_error(without, golden) > 1e-4);
  CHECK(at::equal(run(bundle, std::nullopt, Choice{"golden-noise", {{"amount", 0}}}, 3, 6).latents,
                  run(bundle, std::nullopt, std::nullopt, 3, 6).latents));
  CHECK_THAT(
      failure([&] { run(bundle, std::nullopt, Choice{"golden-noise"}, 5, 24); }),
      Contains("ShapeMismatch: ") && Contains("prompts of 3 tokens of width 6, the model's are [2,5,24]"));
}

TEST_CASE("Settings of the released architectures are refused by other networks", "[unit]") {
  // A TorchScript component in the place of NPNet.
  const ReleasedBundle files([](json& j) {
    j["components"]["npnet"] = j["components"]["vae_decoder"];
    j["components"]["npnet"]["inputs"] = {"latents"};
  });
  const Bundle bundle = files.load();
  const BuildContext context{.bundle = &bundle};
  CHECK_THAT(failure([&] {
               builtins().noise({"golden-noise", {{"svd_attention", true}}}, context);
             }),
             Contains("InvalidArgument: ") && Contains("svd_attention"));
  builtins().noise({"golden-noise", {}}, context);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
