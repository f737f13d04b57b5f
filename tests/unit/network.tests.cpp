#include <glint/bundle/network_model.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/model/conditioning.hpp>
#include <glint/network/network.hpp>
#include <glint/ops/attention_scope.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <thread>

using namespace glint;
using test::Contains;

namespace GLINT_TEST_FILE {

const TensorMap& expected() {
  static const TensorMap tensors = read_safetensors(test::data("modules/expected.safetensors"));
  return tensors;
}

std::vector<at::Tensor> inputs(const std::string& label) {
  std::vector<at::Tensor> result;
  for (const char* name : {"latents", "time", "tokens", "pooled"})
    result.push_back(expected().at(label + "." + name));
  return result;
}

bool close(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && at::allclose(a, b, 1e-5, 1e-6);
}

/// A network that records what it is called with and returns what it is told to.
struct FakeNetwork final : Network {
  mutable std::vector<at::Tensor> seen;
  std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)> answer =
      [](const std::vector<at::Tensor>& given) { return std::vector<at::Tensor>{given[0].mul(2.0)}; };
  std::vector<at::Tensor> run(std::vector<at::Tensor> given) const override {
    seen = given;
    return answer(given);
  }
};

ModelInfo info() {
  return {.name = "fake",
          .parameterization = Parameterization::Velocity,
          .noise_kind = NoiseKind::Flow,
          .latent_shape = {4, -1, -1}};
}

std::vector<at::Tensor> predict(const Model& model, const at::Tensor& x,
                                std::vector<Conditioning> conditionings, std::optional<double> guidance = {},
                                Adapters adapters = {}) {
  const Level level{.model_time = 250.0, .alpha = 0.75, .sigma = 0.25};
  std::vector<const Conditioning*> branches;
  for (const auto& one : conditionings) branches.push_back(&one);
  return model.predict({x, level, branches, adapters, guidance});
}

Conditioning conditioning(const std::string& label) {
  return {.tokens = expected().at(label + ".tokens"), .pooled = expected().at(label + ".pooled")};
}

NetworkInputs tiny_inputs() {
  return {.names = {"latents", "time", "tokens", "pooled"}, .time = TimeUnit::Unit};
}

TEST_CASE("A TorchScript network stored in half precision runs in float32, at any batch size and resolution",
          "[unit]") {
  const auto network = load_network(test::data("modules/denoiser.pt"), Backend::TorchScript);
  for (int call = 0; call < 3;
       ++call) {  // calls after the first are where a specialising executor changes its plan
    for (const char* label : {"a", "b"}) {
      CAPTURE(call, label);
      const auto outputs = network->run(inputs(label));
      REQUIRE(outputs.size() == 1);
      CHECK(outputs[0].scalar_type() == at::kFloat);
      CHECK(close(outputs[0], expected().at(std::string(label) + ".output")));
    }
  }
}

TEST_CASE("A TorchScript network computes in the dtype asked for", "[unit]") {
  const auto network =
      load_network(test::data("modules/denoiser.pt"), Backend::TorchScript, {.dtype = "float64"});
  auto given = inputs("a");
  for (auto& input : given) input = input.to(at::kDouble);
  const auto outputs = network->run(given);
  CHECK(outputs[0].scalar_type() == at::kDouble);
  CHECK(close(outputs[0].to(at::kFloat), expected().at("a.output")));
}

TEST_CASE("An exported program runs at any batch size and resolution", "[unit]") {
  const auto network = load_network(test::data("modules/denoiser.pt2"), Backend::ExportedProgram);
  for (int call = 0; call < 2; ++call) {
    for (const char* label : {"a", "b"}) {
      CAPTURE(call, label);
      const auto outputs = network->run(inputs(label));
      REQUIRE(outputs.size() == 1);
      CHECK(close(outputs[0], expected().at(std::string(label) + ".output")));
    }
  }
}

TEST_CASE("Outputs of networks are ordinary tensors without history", "[unit]") {
  for (const auto& [file, backend] : {std::pair{"denoiser.pt", Backend::TorchScript},
                                      std::pair{"denoiser.pt2", Backend::ExportedProgram}}) {
    CAPTURE(file);
    auto output = load_network(test::data("modules") / file, backend)->run(inputs("a"))[0];
    CHECK_FALSE(output.requires_grad());
    CHECK_FALSE(output.is_inference());
    output.add_(1.0);
  }
}

TEST_CASE("A TorchScript network is differentiable when asked to be", "[unit]") {
  const auto network =
      load_network(test::data("modules/denoiser.pt"), Backend::TorchScript, {.gradients = true});
  for (int call = 0; call < 3; ++call) {
    auto given = inputs("a");
    given[0] = given[0].detach().clone().requires_grad_(true);
    network->run(given)[0].sum().backward();
    CHECK(given[0].grad().defined());
    CHECK(given[0].grad().abs().sum().item<double>() > 0.0);
  }
  CHECK_THAT(test::failure([] {
               load_network(test::data("modules/denoiser.pt2"), Backend::ExportedProgram,
                            {.gradients = true});
             }),
             Contains("InvalidArgument: gradients"));
}

TEST_CASE("Several outputs come in order", "[unit]") {
  const auto network = load_network(test::data("modules/text_encoder.pt"), Backend::TorchScript);
  const auto outputs = network->run({expected().at("ids")});
  REQUIRE(outputs.size() == 2);
  CHECK(close(outputs[0], expected().at("encoder.tokens")));
  CHECK(close(outputs[1], expected().at("encoder.pooled")));
}

TEST_CASE("Networks may be run by several threads at once", "[unit]") {
  for (const auto& [file, backend] : {std::pair{"denoiser.pt", Backend::TorchScript},
                                      std::pair{"denoiser.pt2", Backend::ExportedProgram}}) {
    CAPTURE(file);
    const auto network = load_network(test::data("modules") / file, backend);
    std::array<bool, 4> right{};
    std::vector<std::thread> threads;
    for (size_t t = 0; t < right.size(); ++t)
      threads.emplace_back([&, t] {
        const std::string label = t % 2 ? "a" : "b";
        right[t] = true;
        for (int i = 0; i < 5; ++i)
          right[t] &= close(network->run(inputs(label))[0], expected().at(label + ".output"));
      });
    for (auto& thread : threads) thread.join();
    CHECK(right == std::array<bool, 4>{true, true, true, true});
  }
}

TEST_CASE("Files that are no networks are refused with a message to act on", "[unit]") {
  const test::TemporaryFolder folder;
  const auto text = test::write_bytes(folder / "text.pt", "this is no archive");
  const auto whole = test::read_bytes(test::data("modules/denoiser.pt"));
  const auto cut = test::write_bytes(folder / "cut.pt", whole.substr(0, whole.size() / 2));
  const auto safetensors = test::data("modules/expected.safetensors");
  for (const auto backend : {Backend::TorchScript, Backend::ExportedProgram, Backend::AotInductor}) {
    for (const auto& path : {text, cut, safetensors}) {
      CAPTURE(enum_name(backend), path);
      const auto message = test::failure([&] { load_network(path, backend); });
      CHECK_THAT(message, Contains("BadModel: " + path.string() + ": cannot be loaded as"));
      CHECK_THAT(message, !Contains("frame #"));
      CHECK(message.size() < 1000);
    }
    CHECK_THAT(test::failure([&] { load_network(folder / "none", backend); }), Contains("NotFound: "));
    CHECK_THAT(test::failure([&] { load_network(folder.path(), backend); }), Contains("BadModel: "));
  }
  // Each is an archive of another kind.
  CHECK_THAT(test::failure([] { load_network(test::data("modules/denoiser.pt2"), Backend::TorchScript); }),
             Contains("BadModel: "));
  CHECK_THAT(test::failure([] { load_network(test::data("modules/denoiser.pt"), Backend::ExportedProgram); }),
             Contains("BadModel: "));
  CHECK_THAT(test::failure([] { load_network(test::data("modules/denoiser.pt2"), Backend::AotInductor); }),
             Contains("BadModel: "));
}

TEST_CASE("Wrong devices, dtypes and backends are refused by name", "[unit]") {
  const auto load = [](LoadOptions options) {
    return test::failure(
        [&] { load_network(test::data("modules/denoiser.pt"), Backend::TorchScript, options); });
  };
  CHECK_THAT(load({.device = "tpu"}), Contains("InvalidArgument: device") && Contains("'tpu'"));
  CHECK_THAT(load({.device = "cuda:99"}), Contains("UnsupportedDevice: device: 'cuda:99'"));
  CHECK_THAT(load({.dtype = "int8"}), Contains("InvalidArgument: dtype") && Contains("'int8'"));
  CHECK_THAT(test::failure([] { load_network(test::data("modules/denoiser.pt"), static_cast<Backend>(4)); }),
             Contains("InvalidArgument: backend"));
}

TEST_CASE("A network refuses wrong inputs with the engine's reason, and works again afterwards", "[unit]") {
  for (const auto& [file, backend] : {std::pair{"denoiser.pt", Backend::TorchScript},
                                      std::pair{"denoiser.pt2", Backend::ExportedProgram}}) {
    CAPTURE(file);
    const auto network = load_network(test::data("modules") / file, backend);
    auto wrong = inputs("a");
    wrong[0] = at::zeros({2, 3, 8, 8});
    const auto message = test::failure([&] { network->run(wrong); });
    CHECK_THAT(message, Contains("Internal: "));
    CHECK_THAT(message, !Contains("frame #"));
    wrong.resize(1);
    CHECK(test::error_of([&] { network->run(wrong); }));
    CHECK(close(network->run(inputs("a"))[0], expected().at("a.output")));
  }
}

TEST_CASE("A network model gives the network's output for every branch, from one call", "[unit]") {
  for (const auto& [file, backend] : {std::pair{"denoiser.pt", Backend::TorchScript},
                                      std::pair{"denoiser.pt2", Backend::ExportedProgram}}) {
    CAPTURE(file);
    const auto network = load_network(test::data("modules") / file, backend);
    const NetworkModel model(network, info(), tiny_inputs());
    const auto x = expected().at("a.latents");
    const auto first = conditioning("a");
    Conditioning second{.tokens = first.tokens.narrow(0, 0, 1), .pooled = first.pooled.narrow(0, 0, 1)};
    const auto both = predict(model, x, {first, second});
    REQUIRE(both.size() == 2);
    const auto time = at::full({2}, 0.25);
    CHECK(close(both[0], network->run({x, time, first.tokens, first.pooled})[0]));
    CHECK(close(both[1], network->run({x, time, second.tokens.expand({2, -1, -1}),
                                       second.pooled.expand({2, -1})})[0]));
    CHECK(both[0].storage().data() == both[1].storage().data());  // views of one output
    CHECK(close(predict(model, x, {first})[0], both[0]));
  }
}

TEST_CASE("Inputs are named in the manifest's order, cast, and extras looked up", "[unit]") {
  const auto fake = std::make_shared<FakeNetwork>();
  auto described = info();
  described.embedded_guidance = true;
  const NetworkModel model(fake, described,
                           {.names = {"guidance", "mask", "time", "size", "latents"},
                            .time = TimeUnit::Timestep,
                            .dtype = "float16"});
  fake->answer = [](const std::vector<at::Tensor>& given) { return std::vector<at::Tensor>{given[4]}; };
  const auto x = at::full({2, 4, 3, 3}, 0.5, at::TensorOptions().dtype(at::kDouble));
  Conditioning branch{.mask = at::full({1, 7}, true, at::TensorOptions().dtype(at::kBool))};
  branch.extras["size"] = at::full({2, 2}, 64.0);
  const auto outputs = predict(model, x, {branch, branch, branch}, 3.5);
  REQUIRE(outputs.size() == 3);
  CHECK(outputs[2].scalar_type() == at::kDouble);
  CHECK(at::equal(outputs[2], x));
  REQUIRE(fake->seen.size() == 5);
  CHECK(fake->seen[0].sizes() == at::IntArrayRef({6}));
  CHECK(fake->seen[0][5].item<float>() == 3.5f);
  CHECK(fake->seen[0].scalar_type() == at::kFloat);
  CHECK(fake->seen[1].scalar_type() == at::kBool);
  CHECK(fake->seen[1].sizes() == at::IntArrayRef({6, 7}));
  CHECK(fake->seen[2][0].item<float>() == 250.0f);
  CHECK(fake->seen[3].sizes() == at::IntArrayRef({6, 2}));
  CHECK(fake->seen[3].scalar_type() == at::kHalf);
  CHECK(fake->seen[4].scalar_type() == at::kHalf);
}

TEST_CASE("The noise level is told in the unit the network wants", "[unit]") {
  const auto fake = std::make_shared<FakeNetwork>();
  const auto told = [&](TimeUnit unit, NoiseKind kind) {
    auto described = info();
    described.noise_kind = kind;
    predict(NetworkModel(fake, described, {.names = {"latents", "time"}, .time = unit}),
            at::zeros({1, 4, 2, 2}), {{}});
    return fake->seen[1].item<float>();
  };
  CHECK(told(TimeUnit::Timestep, NoiseKind::Flow) == 250.0f);
  CHECK(told(TimeUnit::Sigma, NoiseKind::VariancePreserving) == 0.25f);
  CHECK(told(TimeUnit::Unit, NoiseKind::Flow) == 0.25f);
  CHECK(told(TimeUnit::Unit, NoiseKind::VariancePreserving) == 0.25f);
}

TEST_CASE("X is handed over as it is when there is one branch and nothing to cast", "[unit]") {
  const auto fake = std::make_shared<FakeNetwork>();
  const NetworkModel model(fake, info(), {.names = {"latents"}});
  const auto x = at::zeros({1, 4, 2, 2});
  predict(model, x, {{}});
  CHECK(fake->seen[0].const_data_ptr() == x.const_data_ptr());
}

TEST_CASE("A network model refuses what does not fit, and works again afterwards", "[unit]") {
  const auto fake = std::make_shared<FakeNetwork>();
  const NetworkModel model(fake, info(), {.names = {"latents", "tokens"}});
  const auto x = at::zeros({2, 4, 3, 3});
  const Conditioning good{.tokens = at::zeros({1, 5, 8})};
  const auto failure = [&](const at::Tensor& latents, std::vector<Conditioning> branches,
                           Adapters adapters = {}) {
    return test::failure([&] { predict(model, latents, std::move(branches), {}, std::move(adapters)); });
  };
  CHECK_THAT(failure(at::zeros({2, 3, 3, 3}), {good}),
             Contains("ShapeMismatch: latents: expected a batch of [4,-1,-1]"));
  CHECK_THAT(failure(at::zeros({4, 3, 3}), {good}), Contains("ShapeMismatch: latents"));
  CHECK_THAT(failure(at::zeros({0, 4, 3, 3}), {good}), Contains("ShapeMismatch: latents"));
  CHECK_THAT(failure(at::zeros({2, 4, 3, 3}, at::kLong), {good}), Contains("UnsupportedDtype: latents"));
  CHECK_THAT(failure(at::Tensor(), {good}), Contains("InvalidArgument: latents"));
  CHECK_THAT(failure(x, {}), Contains("InvalidArgument: branches"));
  CHECK_THAT(failure(x, {{}}), Contains("InvalidArgument: conditioning: fake takes 'tokens'"));
  CHECK_THAT(failure(x, {{.tokens = at::zeros({3, 5, 8})}}),
             Contains("ShapeMismatch: tokens: expected 1 or 2 rows"));
  CHECK_THAT(failure(x, {good, {.tokens = at::zeros({1, 6, 8})}}),
             Contains("ShapeMismatch: tokens: branches"));
  CHECK_THAT(failure(x, {good}, {{"detail", 0.5}}),
             Contains("InvalidArgument: adapters: there is no adapter 'detail'"));
  CHECK(predict(model, x, {good}, {}, {{"detail", 0.0}}).size() == 1);

  const auto bad_output = [&](std::vector<at::Tensor> outputs) {
    const auto bad = std::make_shared<FakeNetwork>();
    bad->answer = [outputs](const std::vector<at::Tensor>&) { return outputs; };
    return test::failure([&] { predict(NetworkModel(bad, info(), {.names = {"latents"}}), x, {good}); });
  };
  CHECK_THAT(bad_output({}), Contains("BadModel: fake: the denoiser returned nothing"));
  CHECK_THAT(bad_output({at::zeros({1, 4, 3, 3})}),
             Contains("BadModel: fake: the denoiser returned [1,4,3,3]"));
  CHECK_THAT(bad_output({at::zeros({2, 4, 3, 3}, at::kLong)}),
             Contains("BadModel: fake: the denoiser returned Long"));

  CHECK_THAT(test::failure([&] { NetworkModel(fake, info(), {.names = {"time"}}); }),
             Contains("InvalidArgument: inputs"));
  CHECK_THAT(test::failure([&] {
               NetworkModel(fake, info(), {.names = {"latents", "guidance"}});
             }),
             Contains("InvalidArgument: inputs"));
  CHECK_THAT(test::failure([&] { NetworkModel(nullptr, info(), {.names = {"latents"}}); }),
             Contains("InvalidArgument: network"));
}

// Compiled packages belong to one machine; tools/golden/test_aoti.py makes one and runs this.
TEST_CASE("A compiled package runs at any batch size and resolution", "[.aoti]") {
  const char* package = std::getenv("GLINT_AOTI_PACKAGE");
  if (!package) {
    WARN("skipped: GLINT_AOTI_PACKAGE names no compiled package");
    return;
  }
  const auto network = load_network(package, Backend::AotInductor);
  for (int call = 0; call < 2; ++call) {
    for (const char* label : {"a", "b"}) {
      CAPTURE(call, label);
      auto output = network->run(inputs(label))[0];
      CHECK(close(output, expected().at(std::string(label) + ".output")));
      CHECK_FALSE(output.is_inference());
    }
  }
  const NetworkModel model(network, info(), tiny_inputs());
  auto shared = conditioning("a");
  shared.tokens = shared.tokens.narrow(0, 0, 1);  // expanded tensors are not contiguous
  shared.pooled = shared.pooled.narrow(0, 0, 1);
  const auto x = expected().at("a.latents");
  const auto reference = load_network(test::data("modules/denoiser.pt"), Backend::TorchScript);
  const auto wanted = reference->run(
      {x, at::full({2}, 0.25), shared.tokens.expand({2, -1, -1}), shared.pooled.expand({2, -1})});
  CHECK(close(predict(model, x, {shared})[0], wanted[0]));
  CHECK_THAT(test::failure([&] { network->run({x}); }), Contains("Internal: "));

  REQUIRE(network->attention_layers() == 1);
  CHECK(load_network(package, Backend::AotInductor, {.attention = false})->attention_layers() == 0);
  const AttentionScope scope({.kind = AttentionKind::Pisa, .first_dense_layers = 0, .min_tokens = 1});
  CHECK(close(network->run(inputs("a"))[0],
              expected().at("a.output")));  // one block of keys: nothing is left out
  CHECK(scope.sparse_calls() == 1);
}

TEST_CASE("A network that needs more memory than there is says so", "[unit]") {
  const auto network = load_network(test::data("modules/vae_decoder.pt"), Backend::TorchScript);
  const at::Tensor huge = at::zeros({1, 4, 1, 1}).expand({1, 4, 1 << 19, 1 << 19});  // itself only 4 numbers
  CHECK_THAT(test::failure([&] { network->run({huge}); }),
             Contains("OutOfMemory: ") && Contains("vae_decoder.pt"));
}

}  // namespace GLINT_TEST_FILE
