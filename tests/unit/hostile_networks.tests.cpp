// Stored networks are not believed: every tensor has to lie within its data before anything runs.
#include "network/loaders.hpp"

#include <glint/bundle/bundle.hpp>
#include <glint/bundle/component_call.hpp>
#include <glint/bundle/network_model.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/io/sha256.hpp>
#include <glint/model/conditioning.hpp>
#include <glint/network/network.hpp>
#include <glint/vae/image_decoder.hpp>

#include "tests/support/archives.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/ops/complex.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <random>

using namespace glint;
using nlohmann::json;
using test::Contains;
using test::failure;

namespace GLINT_TEST_FILE {

constexpr const char* kFrozen = "modules/denoiser_frozen.pt";

/// What loading says of an archive whose record `name` has `from` replaced by `to`.
std::string loading(const std::string& file, const std::string& name, const std::string& from,
                    const std::string& to) {
  const test::TemporaryFolder folder;
  bool changed = false;
  test::rewrite_archive(test::data(file), folder / "x.pt",
                        [&](const std::string& record, std::string& content) {
                          const size_t at = record == name ? content.find(from) : std::string::npos;
                          if (at == std::string::npos) return;
                          content.replace(at, from.size(), to);
                          changed = true;
                        });
  REQUIRE(changed);
  const Backend backend = file.ends_with(".pt2") ? Backend::ExportedProgram : Backend::TorchScript;
  return failure([&] { load_network(folder / "x.pt", backend); });
}

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}

TEST_CASE("A TorchScript archive whose tensors lie outside their data is refused, naming the tensor",
          "[unit]") {
  // (A negative stride is no lie: torch puts the dense one in its place.) constants[0] is a float32 tensor of
  // 4 elements: K 4 t Q is its storage's length, K 0 its offset, then sizes and strides.
  const auto changed = [](const std::string& from, const std::string& to) {
    return loading(kFrozen, "constants.pkl", from, to);
  };
  const std::string length = bytes({'K', 4, 't', 'Q'}),
                    offset = bytes({5, 'K', 0, '(', 'K', 4, 't', '(', 'K', 1, 't'});
  CHECK(changed(length, length) == "no error");
  for (const std::string& longer :
       {bytes({'K', 5, 't', 'Q'}), bytes({'K', 255, 't', 'Q'}), bytes({'M', 255, 255, 't', 'Q'}),
        bytes({'J', 255, 255, 255, 127, 't', 'Q'})}) {
    const std::string said = changed(length, longer);
    CAPTURE(said);
    CHECK_THAT(said,
               Contains("BadModel: ") && Contains("tensor 'constants[0]'") && Contains("its storage has"));
  }
  CHECK_THAT(changed(length, bytes({'J', 255, 255, 255, 255, 't', 'Q'})), Contains("BadModel: "));
  CHECK_THAT(changed(length, bytes({'K', 3, 't', 'Q'})),
             Contains("tensor 'constants[0]'") && Contains("do not fit"));
  const std::pair<const char*, std::string> cases[] = {
      {"offset", bytes({5, 'K', 1, '(', 'K', 4, 't', '(', 'K', 1, 't'})},
      {"size", bytes({5, 'K', 0, '(', 'K', 5, 't', '(', 'K', 1, 't'})},
      {"stride", bytes({5, 'K', 0, '(', 'K', 4, 't', '(', 'K', 2, 't'})},
      {"negative offset", bytes({5, 'J', 255, 255, 255, 255, '(', 'K', 4, 't', '(', 'K', 1, 't'})},
      {"negative size", bytes({5, 'K', 0, '(', 'J', 255, 255, 255, 255, 't', '(', 'K', 1, 't'})},
      {"huge size", bytes({5, 'K', 0, '(', 'J', 255, 255, 255, 127, 't', '(', 'J', 255, 255, 255, 127, 't'})},
  };
  for (const auto& [what, to] : cases) {
    const std::string said = changed(offset, to);
    CAPTURE(what, said);
    CHECK_THAT(said, Contains("BadModel: "));
    if (std::string(what).find("negative") == std::string::npos)
      CHECK_THAT(said, Contains("tensor 'constants[0]'") && Contains("do not fit its 16 bytes"));
  }
  // A buffer among the data, and a dtype wider than what is stored.
  CHECK_THAT(loading("modules/denoiser.pt", "data.pkl", length, bytes({'K', 5, 't', 'Q'})),
             Contains("tensor 'data.positions'"));
  CHECK_THAT(loading("modules/denoiser.pt", "data.pkl", "LongStorage", "ComplexDoubleStorage"),
             Contains("BadModel: "));
  CHECK_THAT(loading("modules/denoiser.pt", "data.pkl", "HalfStorage", "FloatStorage"),
             Contains("its storage has"));
}

TEST_CASE("Damaged pickles are refused or harmless", "[unit]") {
  const test::TemporaryFolder folder;
  std::mt19937 random(7);
  const at::Tensor x = at::randn({1, 4, 8, 8}), t = at::ones({1}), tokens = at::randn({1, 8, 16}),
                   pooled = at::randn({1, 8});
  int refused = 0;
  for (int i = 0; i < 120; ++i) {
    test::rewrite_archive(test::data(kFrozen), folder / "x.pt",
                          [&](const std::string& record, std::string& content) {
                            if (record == "constants.pkl")
                              content[random() % content.size()] = static_cast<char>(random());
                          });
    try {
      load_network(folder / "x.pt", Backend::TorchScript)->run({x, t, tokens, pooled});
    } catch (const Error&) {
      ++refused;
    }
  }
  CHECK(refused > 40);
}

TEST_CASE("An exported program whose weights lie outside their records is refused, naming the weight",
          "[unit]") {
  const std::string list = "data/weights/model_weights_config.json";
  const auto changed = [&](const std::string& from, const std::string& to) {
    return loading("modules/denoiser.pt2", list, from, to);
  };
  CHECK(changed("\"into.weight\"", "\"into.weight\"") == "no error");
  for (const auto& [from, to] :
       {std::pair{"{\"as_int\": 8}", "{\"as_int\": 9}"},
        {"{\"as_int\": 36}", "{\"as_int\": 37}"},
        {"\"storage_offset\": {\"as_int\": 0}", "\"storage_offset\": {\"as_int\": 1}"},
        {"{\"as_int\": 8}", "{\"as_int\": 9223372036854775807}"},
        {"{\"as_int\": 8}", "{\"as_int\": -8}"},
        {"\"dtype\": 7", "\"dtype\": 8"}}) {
    const std::string said = changed(from, to);
    CAPTURE(from, to, said);
    CHECK_THAT(said, Contains("BadModel: ") && Contains("tensor 'into.weight'") &&
                         Contains("do not fit its 1152 bytes"));
  }
  CHECK_THAT(changed("\"dtype\": 7", "\"dtype\": 77"), Contains("no weight has the dtype 77"));
  CHECK_THAT(changed("weight_0", "weight_x"), Contains("there is no record"));
  CHECK_THAT(changed("\"use_pickle\": false", "\"use_pickle\": true"),
             Contains("pickled tensors are not supported"));
  CHECK_THAT(changed("\"config\"", "\"confit\""), Contains("expected an object 'config'"));
}

/// A network that returns what it is told to.
struct Answer final : Network {
  at::Tensor answer;
  explicit Answer(at::Tensor value) : answer(std::move(value)) {}
  std::vector<at::Tensor> run(std::vector<at::Tensor>) const override { return {answer}; }
};

TEST_CASE("Outputs that are no floating-point tensors are refused", "[unit]") {
  const Level level{.model_time = 250.0, .alpha = 0.75, .sigma = 0.25};
  const at::Tensor x = at::randn({1, 4, 8, 8});
  const Conditioning none;
  const Conditioning* branch = &none;
  for (const at::Tensor& wrong : {at::ones({1, 4, 8, 8}, at::kLong), at::ones({1, 4, 8, 8}, at::kBool),
                                  at::complex(x, x), at::Tensor()}) {
    const NetworkModel model(std::make_shared<Answer>(wrong),
                             ModelInfo{.name = "fake",
                                       .parameterization = Parameterization::Velocity,
                                       .noise_kind = NoiseKind::Flow,
                                       .latent_shape = {4, -1, -1}},
                             NetworkInputs{.names = {"latents"}, .time = TimeUnit::Unit});
    CHECK_THAT(failure([&] {
                 model.predict({x, level, {&branch, 1}, {}, {}});
               }),
               Contains("BadModel: fake: the denoiser returned"));
    at::Tensor pixels = wrong.defined() ? wrong.narrow(1, 0, 3) : wrong;
    const ImageDecoder decoder(std::make_shared<Answer>(pixels), {.channels = 4, .spatial_scale = 1});
    CHECK_THAT(failure([&] { decoder.decode(x); }),
               Contains("BadModel: ") && Contains("expected floating point"));
  }
}

TEST_CASE("What a bundle has loaded does not change with its files, and hashes are of what is used",
          "[unit]") {
  const test::TemporaryFolder folder;
  test::write_bundle(folder / "b", test::tiny_manifest());
  const Bundle bundle = Bundle::load(folder / "b");
  const auto network = bundle.network("denoiser");
  const at::Tensor x = at::randn({1, 4, 8, 8}), t = at::ones({1}), tokens = at::randn({1, 8, 16}),
                   pooled = at::randn({1, 8});
  const at::Tensor before = network->run({x, t, tokens, pooled})[0].clone();
  for (const char* file : {"denoiser.pt", "tokenizer.json"})
    std::filesystem::resize_file(folder / "b" / file, 0);
  CHECK(network->run({x, t, tokens, pooled})[0].equal(before));
  CHECK_THAT(failure([&] { bundle.tokenizer(); }), Contains("expected SHA-256"));
}

TEST_CASE("Trust and a manifest's hash are asked for before anything is read or run", "[unit]") {
  const test::TemporaryFolder folder;
  json manifest = test::tiny_manifest();
  std::filesystem::copy(test::data("nets/npnet.safetensors"), folder / "npnet.safetensors");
  test::write_bundle(folder / "b", manifest);
  const Bundle careful = Bundle::load(folder / "b", {.trust = Trust::Data});
  CHECK_THAT(failure([&] { careful.model(); }),
             Contains("InvalidArgument: components.denoiser: trust: denoiser.pt is code (torchscript)"));
  CHECK_THAT(failure([&] { careful.decoder(); }), Contains("components.vae_decoder: trust: "));
  CHECK(failure([&] { careful.tokenizer(); }) == "no error");
  CHECK_THAT(failure([&] {
               load_network(test::data("modules/denoiser.pt2"), Backend::ExportedProgram,
                            {.trust = Trust::Data});
             }),
             Contains("is code (pt2), and trust is none"));
  CHECK(failure([&] {
          load_network(test::data("nets/npnet.safetensors"), Backend::Safetensors, {.trust = Trust::Data});
        }) == "no error");

  const std::string hash = careful.sha256();
  CHECK(hash == sha256_file(folder / "b" / "model.json"));
  CHECK(failure([&] { Bundle::load(folder / "b", {.sha256 = hash}); }) == "no error");
  std::string capitals = hash;
  for (char& c : capitals) c = static_cast<char>(std::toupper(c));
  CHECK(failure([&] { Bundle::load(folder / "b", {.sha256 = capitals}); }) == "no error");
  manifest["default_steps"] = 4;
  test::write_bytes(folder / "b" / "model.json", manifest.dump());
  CHECK_THAT(failure([&] { Bundle::load(folder / "b", {.sha256 = hash}); }),
             Contains("BadModel: sha256: ") && Contains("is not the model.json that was asked for"));
}

TEST_CASE("A network's file that changes between verification and loading is refused", "[unit]") {
  const test::TemporaryFolder folder;
  for (const auto& [name, backend] : {std::pair{"denoiser.pt", Backend::TorchScript},
                                      std::pair{"denoiser.pt2", Backend::ExportedProgram}}) {
    const std::string content = test::read_bytes(test::data(std::string("modules/") + name));
    const auto loading_after = [&](const auto& change) {
      const auto path = test::write_bytes(folder / name, content);
      const auto file = std::make_shared<const detail::HashedFile>(path);
      change(path);
      return failure([&] { detail::load_network(file, backend, {}); });
    };
    const std::string refused = "Io: " + (folder / name).string() + ": changed after it was verified";
    CHECK(loading_after([](const auto&) {}) == "no error");
    CHECK(loading_after([&](const auto& path) {
            std::fstream stream(path, std::ios::in | std::ios::out | std::ios::binary);  // the same file
            stream.seekp(static_cast<std::streamoff>(content.size() / 2));
            stream.put(static_cast<char>(content[content.size() / 2] ^ 1));
          }) == refused);
    CHECK(loading_after([&](const auto& path) { std::filesystem::resize_file(path, content.size() / 3); }) ==
          refused);
    CHECK(loading_after([&](const auto& path) { test::write_bytes(path, "another file of this name"); }) ==
          "no error");
  }
}

}  // namespace GLINT_TEST_FILE
