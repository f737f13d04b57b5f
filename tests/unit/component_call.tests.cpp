#include <glint/bundle/bundle.hpp>
#include <glint/bundle/component_call.hpp>
#include <glint/guidance/guidance_rule.hpp>
#include <glint/io/safetensors.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/ops/allclose.h>
#include <nlohmann/json.hpp>

using namespace glint;
using nlohmann::json;
using test::Contains;

namespace GLINT_TEST_FILE {

/// A bundle whose npnet is the tiny denoiser, with inputs of these names.
struct Files {
  test::TemporaryFolder folder;
  explicit Files(const json& inputs) {
    json manifest = test::tiny_manifest();
    json& network = manifest["components"]["npnet"] = manifest["components"]["vae_decoder"];
    network["file"] = "denoiser.pt";
    network["sha256"] = manifest["components"]["denoiser"]["sha256"];
    if (!inputs.is_null()) network["inputs"] = inputs;
    test::write_bundle(folder.path(), manifest);
  }
  ComponentCall call(const LoadOptions& options = {}) const {
    return {Bundle::load(folder.path(), options),
            "npnet",
            "a noise network",
            {"latents", "time", "tokens", "null_tokens", "pooled", "size"}};
  }
};

const TensorMap& expected() {
  static const TensorMap tensors = read_safetensors(test::data("modules/expected.safetensors"));
  return tensors;
}

Prompt prompt(const std::string& tokens) {
  Prompt result;
  result.cond = {.tokens = tokens == "cond" ? expected().at("a.tokens") : at::Tensor{},
                 .pooled = expected().at("a.pooled")};
  result.uncond.tokens = expected().at("a.tokens");
  return result;
}

TEST_CASE(
    "A component's inputs are found by name, in the caller's tensors, the prompt and the negative prompt",
    "[unit]") {
  const at::Tensor x = expected().at("a.latents"), time = expected().at("a.time");
  const at::Tensor want = expected().at("a.output");
  const Files plain(json{"latents", "time", "tokens", "pooled"});
  CHECK(at::allclose(plain.call()({{"latents", x}, {"time", time}}, prompt("cond")), want, 1e-5, 1e-6));
  const Files uncond(json{"latents", "time", "null_tokens", "pooled"});
  CHECK(at::allclose(uncond.call()({{"latents", x}, {"time", time}}, prompt("null")), want, 1e-5, 1e-6));

  // What the caller gives stands before the prompt's, and is cast to what the network computes in.
  Prompt other = prompt("cond");
  other.cond.pooled = other.cond.pooled.mul(2.0);
  const std::map<std::string, at::Tensor> given{
      {"latents", x}, {"time", time}, {"pooled", expected().at("a.pooled")}};
  const at::Tensor twice = plain.call({.dtype = "float64"})(given, other);
  CHECK(twice.scalar_type() == at::kDouble);
  CHECK(at::allclose(twice.to(at::kFloat), want, 1e-5, 1e-6));
}

TEST_CASE("One row serves every sample of a component's call", "[unit]") {
  const Files files(json{"latents", "time", "tokens", "pooled"});
  const ComponentCall call = files.call();
  const at::Tensor x = expected().at("a.latents"), time = expected().at("a.time").narrow(0, 0, 1);
  Prompt one = prompt("cond");
  one.cond.tokens = one.cond.tokens.narrow(0, 0, 1);
  one.cond.pooled = one.cond.pooled.narrow(0, 0, 1);
  const at::Tensor got = call({{"latents", x}, {"time", time}}, one);
  CHECK(got.size(0) == 2);
  CHECK(at::allclose(got.narrow(0, 0, 1), expected().at("a.output").narrow(0, 0, 1), 1e-5, 1e-6));
  CHECK_THAT(test::failure([&] {
               call({{"latents", at::cat({x, x})}, {"time", time}}, prompt("cond"));
             }),
             Contains("ShapeMismatch: npnet: tokens: expected 1 or 4 rows, got [2,5,16]"));
}

TEST_CASE("Inputs that nobody has are refused, when the component is asked for if that can be known",
          "[unit]") {
  CHECK(test::failure([&] {
          Files(json{"latents", "sizes"}).call();
        }) ==
        "BadModel: components.npnet.inputs: a noise network cannot be given 'sizes'; it can have latents, "
        "time, tokens, null_tokens, pooled, size");
  CHECK_THAT(test::failure([&] { Files(json()).call(); }),
             Contains("BadModel: components.npnet.inputs: expected the names of its inputs, got none"));
  const Files files(json{"latents", "time", "tokens", "size"});
  const ComponentCall call = files.call();
  const std::map<std::string, at::Tensor> given{{"latents", expected().at("a.latents")},
                                                {"time", expected().at("a.time")}};
  CHECK(test::failure([&] { call(given, prompt("cond")); }) ==
        "InvalidArgument: npnet: takes 'size', which the prompt does not have");
  CHECK_THAT(test::failure([&] { call(given, {}); }), Contains("npnet: takes 'tokens'"));
}

}  // namespace GLINT_TEST_FILE
