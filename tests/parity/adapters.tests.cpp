// LoRA at a scale against diffusers' fused weights (tools/golden/adapters.py), on tiny models with random
// weights.
#include "lora/adapter_content.hpp"

#include <glint/bundle/bundle.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/lora/adapter.hpp>
#include <glint/text/prompt_encoder.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/report.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <nlohmann/json.hpp>

using namespace glint;

namespace GLINT_TEST_FILE {

// Both sides compute in float32 with the same kernels; they differ in the order of the sums that form a
// weight.
constexpr double kTolerance = 1e-5;

std::filesystem::path lora(const std::string& family, const std::string& name) {
  return test::data("families/" + family + "/lora-" + name + ".safetensors");
}

/// A family's denoiser with its golden LoRA files, and what diffusers makes of them.
struct Golden {
  std::string family;
  std::vector<std::string> inputs, files;
  TensorMap tensors = read_safetensors(test::data("families/" + family + "/lora.safetensors"));

  std::shared_ptr<const Network> load() const {
    return load_network(test::data("families/" + family + "/denoiser.pt"), Backend::TorchScript,
                        {.pack = false});
  }
  AdaptedNetwork adapted(const std::shared_ptr<const Network>& network) const {
    std::map<std::string, WeightChanges> adapters;
    for (const std::string& name : files)
      adapters[name] = match_adapter(read_adapter(lora(family, name)), "denoiser", network->weights());
    return AdaptedNetwork(network, std::move(adapters));
  }
  at::Tensor run(const Network& network) const {
    std::vector<at::Tensor> arguments;
    for (const std::string& name : inputs) arguments.push_back(tensors.at(name));
    return network.run(std::move(arguments)).front();
  }
};

const Golden& sdxl() {
  static const Golden golden{.family = "sdxl",
                             .inputs = {"latents", "time", "tokens", "pooled", "time_ids"},
                             .files = {"peft", "kohya", "sgm"}};
  return golden;
}

const Golden& sd3() {
  static const Golden golden{
      .family = "sd3", .inputs = {"latents", "time", "tokens", "pooled", "token_order"}, .files = {"peft"}};
  return golden;
}

const Golden& flux() {
  static const Golden golden{.family = "flux",
                             .inputs = {"latents", "time", "tokens", "pooled", "guidance", "token_order"},
                             .files = {"peft", "kohya"}};
  return golden;
}

const Golden& wan() {
  static const Golden golden{
      .family = "wan", .inputs = {"latents", "time", "tokens", "token_order"}, .files = {"published"}};
  return golden;
}

double error(const at::Tensor& got, const at::Tensor& wanted) {
  REQUIRE(got.sizes() == wanted.sizes());
  return got.sub(wanted).abs().max().item<double>() / wanted.abs().max().item<double>();
}

void check_cases(const Golden& golden, const std::map<std::string, Adapters>& cases) {
  const auto network = golden.load();
  const AdaptedNetwork adapted = golden.adapted(network);
  const at::Tensor base = golden.run(*network);
  CHECK(error(base, golden.tensors.at("base")) < kTolerance);
  for (const auto& [label, scales] : cases) {
    const at::Tensor got = golden.run(*adapted.at(scales));
    const double distance = error(got, golden.tensors.at(label));
    CAPTURE(golden.family, label);
    CHECK(distance < kTolerance);
    CHECK(error(got, base) > 0.05);  // the case tells fused from not
    test::report("{:5} {:20} {:.1e} of the largest value", golden.family, label, distance);
  }
}

TEST_CASE(
    "A LoRA at a scale is diffusers' fused result: PEFT and Kohya keys, Linear and Conv, negative scales, "
    "sums",
    "[parity]") {
  check_cases(sdxl(), {{"peft*0.8", {{"peft", 0.8}}},
                       {"peft*-1.5", {{"peft", -1.5}}},
                       {"kohya*1.5", {{"kohya", 1.5}}},
                       {"peft*0.7+kohya*-0.4", {{"peft", 0.7}, {"kohya", -0.4}}}});
}

TEST_CASE("Names of the published checkpoints, and alpha in metadata, mean what diffusers takes them for",
          "[parity]") {
  check_cases(sdxl(), {{"sgm*1.5", {{"sgm", 1.5}}}});
  check_cases(sd3(), {{"peft*0.8", {{"peft", 0.8}}}, {"peft*-1.5", {{"peft", -1.5}}}});
  check_cases(flux(), {{"peft*0.8", {{"peft", 0.8}}},
                       {"kohya*-1.2", {{"kohya", -1.2}}},
                       {"peft*0.5+kohya*0.5", {{"peft", 0.5}, {"kohya", 0.5}}}});
  check_cases(wan(), {{"published*-0.7", {{"published", -0.7}}}});
}

TEST_CASE("Scale 0, and weights exchanged for themselves, are the base bit for bit", "[parity]") {
  for (const Golden* golden : {&sdxl(), &sd3(), &flux(), &wan()}) {
    CAPTURE(golden->family);
    const auto network = golden->load();
    const AdaptedNetwork adapted = golden->adapted(network);
    const at::Tensor base = golden->run(*network);
    CHECK(adapted.at({}) == network);
    CHECK(adapted.at({{golden->files.front(), 0.0}}) == network);
    golden->run(*adapted.at({{golden->files.front(), 1.0}}));  // leaves the base alone
    CHECK(at::equal(golden->run(*network), base));
    CHECK(at::equal(golden->run(*network->with_weights({})), base));
    CHECK(at::equal(golden->run(*network->with_weights(network->weights())), base));
  }
}

TEST_CASE("PEFT's folders keep alpha beside the weights, for all layers or by patterns", "[parity]") {
  for (const char* name : {"peft-plain", "peft-rslora", "peft-patterns"}) {
    const std::filesystem::path folder = test::data("lora") / name;
    const auto scaling = nlohmann::json::parse(test::read_bytes(folder / "scaling.json"));
    for (const std::filesystem::path& path : {folder, folder / "adapter_model.safetensors"}) {
      const AdapterFile file = read_adapter(path);
      REQUIRE(file.layers.at("denoiser").size() == scaling.size());
      for (const WeightChange& layer : file.layers.at("denoiser")) {
        CAPTURE(name, layer.layer);
        CHECK(layer.factor == Approx(scaling.at(layer.layer).get<double>()).epsilon(1e-14));
      }
    }
  }
}

TEST_CASE("A file of PEFT's without its configuration is warned about", "[parity]") {
  const test::TemporaryFolder folder;
  std::filesystem::copy(test::data("lora/peft-plain/adapter_model.safetensors"),
                        folder / "adapter_model.safetensors");
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& text) { warnings.push_back(text); };
  CHECK(read_adapter(folder.path(), warn).layers.at("denoiser").front().factor == 1.0);
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings.front(), Catch::Contains("PEFT keeps alpha in adapter_config.json"));
  read_adapter(test::data("lora/peft-plain"), warn);
  read_adapter(lora("sdxl", "kohya"), warn);
  CHECK(warnings.size() == 1);

  const auto refused = [&](const std::string& config) {
    test::write_bytes(folder / "adapter_config.json", config);
    return test::failure([&] { read_adapter(folder.path()); });
  };
  CHECK_THAT(refused("{"), Catch::Contains("adapter_config.json"));
  CHECK_THAT(refused(R"({"peft_type":"IA3"})"),
             Catch::Contains("peft_type: expected LORA, LOHA or LOKR, got"));
  CHECK_THAT(refused(R"({"lora_alpha":1,"alpha_pattern":{"(":2}})"),
             Catch::Contains("alpha_pattern: '(' is no regular expression"));
}

TEST_CASE("Factors in float8 are the values they stand for", "[parity]") {
  const test::TemporaryFolder folder;
  const auto network = sdxl().load();
  for (const at::ScalarType dtype : {at::kFloat8_e4m3fn, at::kFloat8_e5m2}) {
    TensorMap small, wide;
    for (const auto& [name, tensor] : read_safetensors(lora("sdxl", "peft"))) {
      small.emplace(name, tensor.to(dtype));
      wide.emplace(name, tensor.to(dtype).to(at::kFloat));
    }
    const auto run = [&](const TensorMap& tensors) {
      const std::filesystem::path path = folder / "lora.safetensors";
      write_safetensors(path, tensors);
      const AdaptedNetwork adapted(
          network, {{"a", match_adapter(read_adapter(path), "denoiser", network->weights())}});
      return sdxl().run(*adapted.at({{"a", 1.0}}));
    };
    CHECK(at::equal(run(small), run(wide)));
  }
}

TEST_CASE("Kohya's third text encoder is T5, which is FLUX's second", "[parity]") {
  const test::TemporaryFolder folder;
  const Bundle bundle = Bundle::load(test::data("families/flux"));
  const auto tokens = [&](const std::string& down, const std::string& up) {
    const int64_t width = bundle.prompt_encoder()->encode("a fox", {}).conditioning.tokens.size(2);
    const int64_t heads = bundle.network("text_encoder_2")
                              ->weights()
                              .at("text_encoder_2.encoder.block.0.layer.0.SelfAttention.q.weight")
                              .size(0);
    const std::filesystem::path path = folder / "t5.safetensors";
    write_safetensors(path, {{down, at::ones({1, width})}, {up, at::ones({heads, 1})}});
    const Bundle with = bundle.with_adapters({{"t5", path}});
    return with.prompt_encoder({{"t5", 0.5}})->encode("a fox", {}).conditioning.tokens;
  };
  const std::string flat = "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_",
                    dotted = "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q.lora_";
  const at::Tensor kohya = tokens(flat + "down.weight", flat + "up.weight");
  CHECK(at::equal(kohya, tokens(dotted + "A.weight", dotted + "B.weight")));
  CHECK_FALSE(at::equal(kohya, bundle.prompt_encoder()->encode("a fox", {}).conditioning.tokens));
}

TEST_CASE("Two adapters add up in the weights", "[parity]") {
  const auto network = sdxl().load();
  const at::Tensor wanted = sdxl().run(*sdxl().adapted(network).at({{"peft", 0.8}}));
  // One file under two names, so that the sum is known: 0.3 and 0.5 of it are 0.8 of it.
  std::map<std::string, WeightChanges> twice;
  for (const char* name : {"one", "two"})
    twice[name] = match_adapter(read_adapter(lora("sdxl", "peft")), "denoiser", network->weights());
  const AdaptedNetwork same(network, std::move(twice));
  CHECK(error(sdxl().run(*same.at({{"one", 0.3}, {"two", 0.5}})), wanted) < kTolerance);
  CHECK(error(sdxl().run(*same.at({{"one", 0.5}, {"two", -0.5}})), sdxl().run(*network)) < kTolerance);
}

TEST_CASE("A LoRA with text encoders' layers changes the prompt's embeddings as diffusers' fused ones",
          "[parity]") {
  const Bundle bundle =
      Bundle::load(test::data("families/sdxl"))
          .with_adapters({{"text", lora("sdxl", "text")}, {"text-kohya", lora("sdxl", "text-kohya")}});
  const auto check = [&](const Adapters& scales, const std::string& label) {
    const EncodedPrompt got =
        bundle.prompt_encoder(scales)->encode("a small golden fox in the snow", {.height = 32, .width = 24});
    CAPTURE(label);
    for (const auto& [name, tensor] :
         {std::pair{"tokens", got.conditioning.tokens}, {"pooled", got.conditioning.pooled}}) {
      const double distance = error(tensor, sdxl().tensors.at("text." + label + "." + name));
      CHECK(distance < kTolerance);
      test::report("sdxl  text {} {} {:.1e} of the largest value", label, name, distance);
    }
  };
  check({}, "base");
  check({{"text", 0.8}}, "text*0.8");
  check({{"text-kohya", -0.6}}, "text-kohya*-0.6");
  CHECK(bundle.prompt_encoder({{"text", 0.8}}) == bundle.prompt_encoder({{"text", 0.8}}));
  CHECK(bundle.prompt_encoder({{"text", 0.0}}) == bundle.prompt_encoder());
  check({}, "base");
}

}  // namespace GLINT_TEST_FILE
