// NPNet and CoRe2's weak network, layer by layer, against the values tools/golden/released_networks.py
// recorded.
#include "network/released/core2_network.hpp"
#include "network/released/npnet.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/samplers.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_svdvals.h>
#include <ATen/ops/linspace.h>
#include <nlohmann/json.hpp>

namespace glint {
namespace GLINT_TEST_FILE {

using released::Core2Network;
using released::Npnet;
using test::relative_error;

// Both sides sum the same float32 products, in another order where this one attends with a fused kernel or
// adds a correction in place: some 1e-6 of a layer's largest value after eight layers. Singular vectors come
// from float64.
constexpr double kTolerance = 1e-5;

struct File {
  TensorMap tensors;
  Metadata settings;

  released::NetworkFile weights(const std::string& name) const {
    Metadata own = settings;
    own.erase("architecture");
    return {tensors, own, name, at::kCPU, at::kFloat};
  }
};

File component(const std::string& name) {
  File file;
  file.tensors = read_safetensors(test::data("nets/" + name + ".safetensors"), &file.settings);
  return file;
}

/// The tensors of one case of vectors.safetensors.
TensorMap recorded(const std::string& name) {
  TensorMap found;
  for (const auto& [key, value] : read_safetensors(test::data("nets/vectors.safetensors")))
    if (key.starts_with(name + ".")) found.emplace(key.substr(name.size() + 1), value);
  REQUIRE(found.contains("result"));
  return found;
}

/// Compares every layer; `run` is given the trace and returns the result.
template <typename Run>
void compare(const TensorMap& expected, Run run) {
  size_t compared = 1;
  const at::Tensor result = run([&](std::string_view layer, const at::Tensor& value) {
    const at::Tensor& wanted = expected.at(std::string(layer));
    CAPTURE(std::string(layer));
    REQUIRE(value.sizes() == wanted.sizes());
    CHECK(relative_error(value, wanted) < kTolerance);
    ++compared;
  });
  CHECK(relative_error(result, expected.at("result")) < kTolerance);
  const auto inputs = std::count_if(expected.begin(), expected.end(),
                                    [](const auto& entry) { return entry.first.starts_with("input."); });
  CHECK(compared == expected.size() - static_cast<size_t>(inputs) - expected.count("upconv"));
}

std::vector<at::Tensor> inputs_of(const Network& network, const TensorMap& from) {
  std::vector<at::Tensor> inputs;
  for (const std::string& name : network.inputs()) inputs.push_back(from.at("input." + name));
  return inputs;
}

TEST_CASE("CoRe2's weak network is the transcription, layer by layer", "[parity]") {
  for (const auto& [name, text] : {std::pair{"core2.first", "legacy-rows"},
                                   {"core2.later", "legacy-rows"},
                                   {"core2.columns", "columns"},
                                   {"core2.zero_null", "legacy-rows"},
                                   {"core2.same_start", "legacy-rows"},
                                   {"core2_sd3.first", "legacy-rows"}}) {
    CAPTURE(name);
    const std::string file = std::string(name).substr(0, std::string(name).find('.'));
    File stored = component(file);
    stored.settings["text"] = text;
    const Core2Network network(stored.weights(file));
    const TensorMap expected = recorded(name);
    compare(expected, [&](const released::Trace& trace) {
      return network.forward(inputs_of(network, expected), trace);
    });
  }
}

TEST_CASE("NPNet is the transcription, layer by layer", "[parity]") {
  for (const char* name : {"npnet.released", "npnet.no_attention", "npnet.nchw"}) {
    CAPTURE(name);
    const TensorMap expected = recorded(name);
    File stored = component("npnet");
    if (std::string_view(name) == "npnet.no_attention") stored.settings["attention"] = "false";
    if (expected.contains("upconv")) {
      stored.settings["features"] = "nchw";
      stored.tensors["unet_embedding.upconv.weight"] = expected.at("upconv");
    }
    const Npnet network(stored.weights("npnet"));
    compare(expected, [&](const released::Trace& trace) {
      return network.forward(expected.at("input.latents"), expected.at("input.tokens"), trace);
    });
  }
}

TEST_CASE("The switches of the released code are what tells the recorded cases apart", "[parity]") {
  const Core2Network core2(component("core2").weights("core2"));
  const TensorMap columns = recorded("core2.columns");
  const at::Tensor switched = core2.with("text", "columns")->run(inputs_of(core2, columns)).at(0);
  CHECK(relative_error(switched, columns.at("result")) < kTolerance);
  CHECK(relative_error(core2.run(inputs_of(core2, columns)).at(0), columns.at("result")) > 1e-3);

  const Npnet npnet(component("npnet").weights("npnet"));
  const TensorMap plain = recorded("npnet.released"), without = recorded("npnet.no_attention");
  CHECK(relative_error(npnet.with("svd_attention", "false")->run(inputs_of(npnet, without)).at(0),
                       without.at("result")) < kTolerance);
  CHECK(relative_error(plain.at("result"), without.at("result")) > 1e-3);
  CHECK(relative_error(recorded("npnet.nchw").at("result"), plain.at("result")) > 1e-3);
}

TEST_CASE("CoRe2's network without its last layers is zero, and without corrections knows no step",
          "[parity]") {
  File silent = component("core2"), plain = component("core2");
  for (auto& [name, tensor] : silent.tensors)
    if (name.starts_with("proj_out.") || name.starts_with("skip_connection."))
      tensor = at::zeros_like(tensor);
  for (auto& [name, tensor] : plain.tensors)
    if (name.ends_with(".lora_b")) tensor = at::zeros_like(tensor);
  std::vector<at::Tensor> first =
      inputs_of(Core2Network(component("core2").weights("core2")), recorded("core2.first"));
  std::vector<at::Tensor> later = first;
  later[1] = at::full({2}, 0.9);
  const Core2Network whole(component("core2").weights("core2")), without(plain.weights("core2"));
  CHECK(Core2Network(silent.weights("core2")).run(first)[0].abs().max().item<double>() == 0.0);
  CHECK(at::equal(without.run(first)[0], without.run(later)[0]));
  CHECK(relative_error(whole.run(later)[0], whole.run(first)[0]) > 1e-4);
  // Rows of a batch that share a prompt are those of a batch that repeats it.
  for (size_t i : {2, 3, 4, 5}) {
    later[i] = first[i].narrow(0, 0, 1).expand_as(first[i]);
    first[i] = later[i].clone();
  }
  later[1] = first[1];
  CHECK(relative_error(whole.run(later)[0], whole.run(first)[0]) < kTolerance);
}

TEST_CASE("NPNet without its parts gives the noise back, or its singular values moved", "[parity]") {
  const TensorMap inputs = recorded("npnet.released");
  const at::Tensor x = inputs.at("input.latents");
  File parts = component("npnet");
  for (const char* name : {"alpha", "beta", "unet_svd.mlp4.2.weight", "unet_svd.mlp4.2.bias"})
    parts.tensors[name] = at::zeros_like(parts.tensors.at(name));
  const auto made = [&] { return Npnet(parts.weights("npnet")).forward(x, inputs.at("input.tokens")); };
  CHECK(relative_error(made(), x) < 1e-5);
  parts.tensors["unet_svd.mlp4.2.bias"] = at::full({16}, 0.7);
  // [B,4,h,w] as [B,2h,2w]
  const auto values = [](const at::Tensor& t) {
    const at::Tensor m = t.reshape({-1, 2, 2, 8, 8}).transpose(2, 3).reshape({-1, 16, 16});
    return at::linalg_svdvals(m.to(at::kDouble));
  };
  CHECK(relative_error(values(made()), values(x).add(0.7)) < 1e-5);
}

TEST_CASE("NPNet knows no prompt without its text weights, and then adds whitened noise", "[parity]") {
  const TensorMap inputs = recorded("npnet.released");
  const at::Tensor x = inputs.at("input.latents"), tokens = inputs.at("input.tokens");
  File parts = component("npnet");
  for (const char* name : {"embedding.linear.weight", "embedding.linear.bias"})
    parts.tensors[name] = at::zeros_like(parts.tensors.at(name));
  const Npnet silent(parts.weights("npnet"));
  CHECK(at::equal(silent.forward(x, tokens), silent.forward(x, tokens.neg())));
  const Npnet whole(component("npnet").weights("npnet"));
  CHECK_FALSE(at::equal(whole.forward(x, tokens), whole.forward(x, tokens.neg())));
  silent.forward(x, tokens, [](std::string_view layer, const at::Tensor& value) {
    if (layer != "text") return;
    CHECK(value.flatten(1).mean(1).abs().max().item<double>() < 1e-6);
    CHECK(value.flatten(1).var(1, /*unbiased=*/false).sub(1.0).abs().max().item<double>() < 1e-5);
  });
}

/// The numbers in [-1,1) of tools/golden/released_networks.py: a function of name and place.
at::Tensor formula(const std::string& name, const std::vector<int64_t>& shape) {
  uint32_t seed = 2166136261U;
  for (const char letter : name) seed = (seed ^ static_cast<uint8_t>(letter)) * 16777619U;
  at::Tensor tensor = at::empty(shape, at::kFloat);
  float* values = tensor.data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761U + seed;
    x = (x ^ (x >> 16)) * 0x7FEB352DU;
    x = (x ^ (x >> 15)) * 0x846CA68BU;
    x ^= x >> 16;
    values[i] = static_cast<float>(x >> 8) * 0x1p-23F - 1.0F;
  }
  return tensor;
}

at::Tensor weight(const std::string& name, const std::vector<int64_t>& shape) {
  const at::Tensor unit = formula(name, shape);
  if (shape.size() == 1) {
    const bool scale = name.find("norm") != std::string::npos && name.ends_with("weight");
    return unit.mul_(0.1F).add_(scale ? 1.0 : 0.0);
  }
  int64_t fan_in = shape[1];
  if (shape.size() == 4) fan_in *= shape[2] * shape[3];
  return unit.mul_(std::sqrt(3.0 / static_cast<double>(fan_in)) * (shape.size() == 3 ? 0.4 : 1.0));
}

at::Tensor input(const std::string& name, const std::vector<int64_t>& shape) {
  return formula("input." + name, shape).mul_(std::sqrt(3.0));
}

/// Values at equal distances, and the norm.
at::Tensor sampled(const at::Tensor& value, int64_t samples) {
  const at::Tensor flat = value.flatten();
  const at::Tensor place =
      at::linspace(0, static_cast<double>(flat.numel() - 1), samples, at::kDouble).floor().to(at::kLong);
  return at::cat({flat.index_select(0, place), flat.to(at::kDouble).norm().to(at::kFloat).reshape({1})});
}

File full_size(const std::string& name) {
  const auto told = nlohmann::json::parse(test::read_bytes(test::data("nets/full_size.json"))).at(name);
  File file;
  for (const auto& [key, value] : told.at("settings").items()) file.settings[key] = value;
  for (const auto& [key, shape] : told.at("shapes").items())
    file.tensors[key] = weight(key, shape.get<std::vector<int64_t>>());
  return file;
}

/// Compares samples of every layer; a value is judged by the layer's root mean square, of which its norm
/// tells.
released::Trace against_samples(const std::string& name, size_t& compared) {
  const auto expected =
      std::make_shared<const TensorMap>(read_safetensors(test::data("nets/full_size.safetensors")));
  return [expected, name, &compared](std::string_view layer, const at::Tensor& value) {
    const at::Tensor& wanted = expected->at(name + "." + std::string(layer));
    const int64_t samples = wanted.numel() - 1;
    const at::Tensor ours = sampled(value, samples);
    const double norm = wanted[samples].item<double>();
    const double size = norm / std::sqrt(static_cast<double>(value.numel()));
    CAPTURE(name, std::string(layer));
    CHECK(std::abs(ours[samples].item<double>() - norm) < kTolerance * norm);
    // Values here are up to a few times the root mean square, and sums a few thousand terms long.
    CHECK(ours.sub(wanted).narrow(0, 0, samples).abs().max().item<double>() < 5.0 * kTolerance * size);
    ++compared;
  };
}

TEST_CASE("CoRe2's weak network for SDXL at its own size", "[parity]") {
  const Core2Network network(full_size("core2").weights("core2"));
  const std::vector<at::Tensor> inputs{input("output", {1, 4, 16, 12}),     at::full({1}, 0.5),
                                       input("tokens", {1, 77, 2048}),      input("pooled", {1, 1280}),
                                       input("null_tokens", {1, 77, 2048}), input("null_pooled", {1, 1280})};
  size_t compared = 0;
  const released::Trace check = against_samples("core2", compared);
  check("result", network.forward(inputs, check));
  CHECK(compared == 10);
}

TEST_CASE("NPNet for SDXL at its own size", "[parity]") {
  const Npnet network(full_size("npnet").weights("npnet"));
  size_t compared = 0;
  const released::Trace check = against_samples("npnet", compared);
  check("result", network.forward(input("latents", {1, 4, 128, 128}), input("tokens", {1, 77, 2048}), check));
  CHECK(compared == 11);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
