// Adapters of every kind and dialect against PEFT, diffusers or the published formula
// (tools/golden/adapter_kinds.py), on tiny models with random weights.
#include <glint/io/safetensors.hpp>
#include <glint/lora/adapter.hpp>
#include <glint/network/network.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/report.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <fmt/format.h>

using namespace glint;

namespace GLINT_TEST_FILE {

// As of adapters.tests.cpp: float32 on both sides, or float64 on the judge's; sums in another order.
constexpr double kTolerance = 1e-5;

/// A family's denoiser, its inputs, and what the judges made of its files at a scale.
struct Golden {
  std::string family;
  std::vector<std::string> inputs, kinds;
  TensorMap arguments = read_safetensors(test::data("families/" + family + "/lora.safetensors"));
  TensorMap wanted = read_safetensors(test::data("families/" + family + "/kinds.safetensors"));

  std::shared_ptr<const Network> load(bool pack = false) const {
    return load_network(test::data("families/" + family + "/denoiser.pt"), Backend::TorchScript,
                        {.pack = pack});
  }
  /// A file, or a folder of PEFT's.
  std::filesystem::path file(const std::string& kind) const {
    const std::string path = "families/" + family + "/kind-" + kind;
    return std::filesystem::is_directory(test::data(path)) ? test::data(path)
                                                           : test::data(path + ".safetensors");
  }
  WeightChanges changes(const std::string& kind, const Network& network) const {
    return match_adapter(read_adapter(file(kind)), "denoiser", network.weights());
  }
  at::Tensor run(const Network& network) const {
    std::vector<at::Tensor> given;
    for (const std::string& name : inputs) given.push_back(arguments.at(name));
    return network.run(std::move(given)).front();
  }
};

const std::vector<Golden>& goldens() {
  static const std::vector<Golden> all{
      {.family = "sdxl",
       .inputs = {"latents", "time", "tokens", "pooled", "time_ids"},
       .kinds = {"dora", "dora-rows", "dora-columns", "tucker", "difference", "loha", "loha-plain", "lokr",
                 "lokr-both"}},
      {.family = "sd3",
       .inputs = {"latents", "time", "tokens", "pooled", "token_order"},
       .kinds = {"kohya", "peft-loha", "peft-lokr"}},
      {.family = "flux",
       .inputs = {"latents", "time", "tokens", "pooled", "guidance", "token_order"},
       .kinds = {"control", "xlabs", "lokr-fused"}},
      {.family = "wan",
       .inputs = {"latents", "time", "tokens", "token_order"},
       .kinds = {"bias", "distilled"}}};
  return all;
}

double error(const at::Tensor& got, const at::Tensor& wanted) {
  REQUIRE(got.sizes() == wanted.sizes());
  return got.sub(wanted).abs().max().item<double>() / wanted.abs().max().item<double>();
}

TEST_CASE("Every kind of adapter is at a scale what its judge makes of it, and at 0 the base bit for bit",
          "[parity]") {
  for (const Golden& golden : goldens()) {
    const auto network = golden.load();
    const at::Tensor base = golden.run(*network);
    for (const std::string& kind : golden.kinds) {
      CAPTURE(golden.family, kind);
      const AdaptedNetwork adapted(network, {{"a", golden.changes(kind, *network)}});
      for (const double scale : {0.7, -1.2}) {
        const at::Tensor got = golden.run(*adapted.at({{"a", scale}}));
        const double distance = error(got, golden.wanted.at(fmt::format("{}*{}", kind, scale)));
        CHECK(distance < kTolerance);
        CHECK(error(got, base) > 0.02);  // the case tells adapted from not
        test::report("{:5} {:13} {:4} {:.1e} of the largest value", golden.family, kind, scale, distance);
      }
      CHECK(adapted.at({{"a", 0.0}}) == network);
      CHECK(at::equal(golden.run(*network), base));
    }
  }
}

/// A network that is but its weights.
struct Held final : Network {
  Weights own;
  explicit Held(Weights weights) : own(std::move(weights)) {}
  std::vector<at::Tensor> run(std::vector<at::Tensor>) const override { return {}; }
  const Weights& weights() const override { return own; }
  std::shared_ptr<const Network> with_weights(const Weights& changed) const override {
    auto result = std::make_shared<Held>(own);
    for (const auto& [name, weight] : changed) result->own.at(name) = weight;
    return result;
  }
};

TEST_CASE("Adapters of several kinds add up to what each alone makes of the weights", "[parity]") {
  for (const Golden& golden : goldens()) {
    const auto network = std::make_shared<const Held>(golden.load()->weights());
    std::map<std::string, WeightChanges> all;
    for (const std::string& kind : golden.kinds) all[kind] = golden.changes(kind, *network);
    const AdaptedNetwork adapted(network, all);
    for (size_t i = 0; i + 1 < golden.kinds.size(); ++i) {
      const std::string &one = golden.kinds[i], &other = golden.kinds[i + 1];
      CAPTURE(golden.family, one, other);
      const Weights first = adapted.at({{one, 0.7}})->weights(),
                    second = adapted.at({{other, -1.2}})->weights(),
                    both = adapted.at({{one, 0.7}, {other, -1.2}})->weights();
      for (const auto& [name, base] : network->weights()) {
        CAPTURE(name);
        CHECK(error(both.at(name), first.at(name) + second.at(name) - base) < 1e-6);
      }
    }
  }
}

TEST_CASE("Packed networks take every kind as plain ones do", "[parity]") {
  for (const Golden& golden : goldens()) {
    const auto plain = golden.load(), packed = golden.load(true);
    for (const std::string& kind : golden.kinds) {
      CAPTURE(golden.family, kind);
      const AdaptedNetwork one(plain, {{"a", golden.changes(kind, *plain)}}),
          other(packed, {{"a", golden.changes(kind, *packed)}});
      CHECK(at::equal(golden.run(*one.at({{"a", 0.7}})), golden.run(*other.at({{"a", 0.7}}))));
    }
  }
}

TEST_CASE("Tensors in half precision and float8 are the values they stand for, in every kind", "[parity]") {
  const test::TemporaryFolder folder;
  for (const Golden& golden : goldens()) {
    const auto network = golden.load();
    for (const std::string& kind : golden.kinds) {
      if (std::filesystem::is_directory(golden.file(kind))) continue;
      CAPTURE(golden.family, kind);
      const TensorMap tensors = read_safetensors(golden.file(kind));
      for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16, at::kFloat8_e4m3fn}) {
        TensorMap small, wide;
        for (const auto& [name, tensor] : tensors) {
          small.emplace(name, tensor.to(dtype));
          wide.emplace(name, tensor.to(dtype).to(at::kFloat));
        }
        const auto run = [&](const TensorMap& content) {
          write_safetensors(folder / "a.safetensors", content);
          const AdaptedNetwork adapted(
              network,
              {{"a", match_adapter(read_adapter(folder / "a.safetensors"), "denoiser", network->weights())}});
          return golden.run(*adapted.at({{"a", 1.0}}));
        };
        CHECK(at::equal(run(small), run(wide)));
      }
    }
  }
}

}  // namespace GLINT_TEST_FILE
