// LoRA at a scale against diffusers' fused weights (tools/golden/adapters.py), on tiny models with random weights.
#include <glint/io/safetensors.hpp>
#include <glint/model/adapter.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/ops/equal.h>

using namespace glint;

namespace {

/// A family's denoiser with its golden LoRA files, and what diffusers makes of them.
struct Golden {
  std::string family;
  std::vector<std::string> inputs, files;
  TensorMap tensors = read_safetensors(test::data("families/" + family + "/lora.safetensors"));

  std::shared_ptr<const Module> load(const LoadOptions& options = {}) const {
    return load_module(test::data("families/" + family + "/denoiser.pt"), Backend::TorchScript, options);
  }
  AdaptedNetwork adapted(const std::shared_ptr<const Module>& network) const {
    std::map<std::string, WeightChanges> adapters;
    for (const std::string& file : files)
      adapters[file] =
          match_adapter(read_adapter(test::data("families/" + family + "/lora-" + file + ".safetensors")),
                        "denoiser", network->weights());
    return AdaptedNetwork(network, std::move(adapters));
  }
  at::Tensor run(const Module& network, at::ScalarType dtype = at::kFloat) const {
    std::vector<at::Tensor> arguments;
    for (const std::string& name : inputs) {
      const at::Tensor& tensor = tensors.at(name);
      arguments.push_back(tensor.is_floating_point() ? tensor.to(dtype) : tensor);
    }
    return network.run(std::move(arguments)).front();
  }
};

double error(const at::Tensor& got, const at::Tensor& wanted) {
  REQUIRE(got.sizes() == wanted.sizes());
  return ((got - wanted).abs().max() / wanted.abs().max()).item<double>();
}

const Golden& sdxl() {
  static const Golden golden{.family = "sdxl",
                             .inputs = {"latents", "time", "tokens", "pooled", "time_ids"},
                             .files = {"peft", "kohya"}};
  return golden;
}

// Both sides compute in float32 with the same kernels; they differ in the order of the sums that form a weight.
constexpr double kTolerance = 1e-5;

}  // namespace

TEST_CASE(
    "a LoRA at a scale is diffusers' fused result: PEFT and Kohya keys, Linear and Conv, negative scales, "
    "sums",
    "[parity]") {
  const auto network = sdxl().load();
  const AdaptedNetwork adapted = sdxl().adapted(network);
  const at::Tensor base = sdxl().run(*network);
  CHECK(error(base, sdxl().tensors.at("base")) < kTolerance);
  const std::map<std::string, Adapters> cases{{"peft*0.8", {{"peft", 0.8}}},
                                              {"peft*-1.5", {{"peft", -1.5}}},
                                              {"kohya*1.5", {{"kohya", 1.5}}},
                                              {"peft*0.7+kohya*-0.4", {{"peft", 0.7}, {"kohya", -0.4}}}};
  for (const auto& [label, scales] : cases) {
    CAPTURE(label);
    const at::Tensor got = sdxl().run(*adapted.at(scales));
    CHECK(error(got, sdxl().tensors.at(label)) < kTolerance);
    CHECK(error(got, base) > 0.05);  // the case tells fused from not
  }
}

TEST_CASE("scale 0, and weights exchanged for themselves, are the base bit for bit", "[parity]") {
  const auto network = sdxl().load();
  const AdaptedNetwork adapted = sdxl().adapted(network);
  const at::Tensor base = sdxl().run(*network);
  CHECK(adapted.at({}) == network);
  CHECK(adapted.at({{"peft", 0.0}, {"kohya", 0.0}}) == network);
  sdxl().run(*adapted.at({{"peft", 1.0}}));  // leaves the base alone
  CHECK(at::equal(sdxl().run(*network), base));
  CHECK(at::equal(sdxl().run(*network->with_weights({})), base));
  CHECK(at::equal(sdxl().run(*network->with_weights(network->weights())), base));
}

TEST_CASE("two adapters add up in the weights", "[parity]") {
  const auto network = sdxl().load({.dtype = "float64"});
  const AdaptedNetwork adapted = sdxl().adapted(network);
  const auto run = [&](const Adapters& scales) { return sdxl().run(*adapted.at(scales), at::kDouble); };
  // The same adapter under two names, so that the sum is known: 0.3 and 0.5 of it are 0.8 of it.
  std::map<std::string, WeightChanges> twice;
  for (const char* name : {"one", "two"})
    twice[name] = match_adapter(read_adapter(test::data("families/sdxl/lora-peft.safetensors")), "denoiser",
                                network->weights());
  const AdaptedNetwork same(network, std::move(twice));
  CHECK(error(sdxl().run(*same.at({{"one", 0.3}, {"two", 0.5}}), at::kDouble), run({{"peft", 0.8}})) < 1e-12);
  CHECK(error(sdxl().run(*same.at({{"one", 0.5}, {"two", -0.5}}), at::kDouble), run({})) < 1e-12);
}
