// Adapters on their way from a bundle and a request to the denoiser.
#include <glint/core/rng.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/io/sha256.hpp>
#include <glint/model/model.hpp>
#include <glint/pipeline/pipeline.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <nlohmann/json.hpp>

#include <thread>

using namespace glint;
using nlohmann::json;
using test::Contains;
using test::failure;

namespace GLINT_TEST_FILE {

/// The tiny bundle, and LoRA files for two layers of its denoiser, a Linear and a Conv.
struct Files {
  test::TemporaryFolder folder;
  std::filesystem::path bundle = folder / "bundle", style = folder / "style.safetensors",
                        detail = folder / "detail.safetensors";

  explicit Files(const std::function<void(json&)>& change = [](json&) {}) {
    write_safetensors(style, layers(1));
    write_safetensors(detail, layers(2));
    json manifest = test::tiny_manifest();
    manifest["latent"]["height"] = manifest["latent"]["width"] = 8;
    change(manifest);
    test::write_bundle(bundle, manifest);
  }

  static TensorMap layers(int seed) {
    NoiseStream stream(static_cast<uint64_t>(seed), 1);
    const auto draw = [&](at::IntArrayRef sizes) {
      return stream.normal(sizes, at::kFloat).squeeze(0).mul(0.3);
    };
    return {{"query.lora_A.weight", draw({2, 8})},
            {"query.lora_B.weight", draw({8, 2})},
            {"into.lora_A.weight", draw({2, 4, 3, 3})},
            {"into.lora_B.weight", draw({8, 2, 1, 1})}};
  }
  /// Makes `style` the bundle's own, called "own".
  void own() const {
    std::filesystem::copy_file(style, bundle / "own.safetensors");
    json manifest = json::parse(test::read_bytes(bundle / "model.json"));
    manifest["adapters"]["own"] = {{"file", "own.safetensors"}, {"sha256", sha256_file(style)}};
    test::write_bytes(bundle / "model.json", manifest.dump());
  }
};

GenerateRequest request(Adapters adapters = {}) {
  return {.prompts = {"red star"}, .steps = 3, .adapters = std::move(adapters), .seed = 3};
}

at::Tensor latents(const Pipeline& pipeline, const GenerateRequest& request) {
  return pipeline.generate(request).sample.latents;
}

TEST_CASE("A request scales adapters by name; unnamed and at 0 they change no bit", "[unit]") {
  const Files files;
  const Bundle plain = Bundle::load(files.bundle);
  const Pipeline base(plain),
      adapted(plain.with_adapters({{"style", files.style}, {"detail", files.detail}}));
  const at::Tensor without = latents(base, request());
  CHECK(adapted.bundle().model()->info().adapters == std::vector<std::string>{"detail", "style"});
  CHECK(plain.model()->info().adapters.empty());
  CHECK(at::equal(latents(adapted, request()), without));
  CHECK(at::equal(latents(adapted, request({{"style", 0.0}, {"detail", 0.0}})), without));

  const at::Tensor style = latents(adapted, request({{"style", 0.8}}));
  CHECK_FALSE(at::equal(style, without));
  CHECK_FALSE(at::equal(latents(adapted, request({{"style", -0.8}})), style));
  CHECK_FALSE(at::equal(latents(adapted, request({{"style", 0.8}, {"detail", 0.5}})), style));
  CHECK(at::equal(latents(adapted, request({{"style", 0.8}})), style));
  CHECK(at::equal(latents(base, request()), without));
}

TEST_CASE("A bundle's own adapters, those of the load options and later ones are the same", "[unit]") {
  const Files plain, files;
  files.own();
  const Pipeline own(Bundle::load(files.bundle));
  const Pipeline given(Bundle::load(plain.bundle, {.adapters = {{"own", plain.style}}}));
  CHECK(own.bundle().manifest().adapters.at("own").file == "own.safetensors");
  CHECK(at::equal(latents(own, request({{"own", 1.5}})), latents(given, request({{"own", 1.5}}))));
  own.bundle().preload();

  CHECK_THAT(failure([&] {
               own.bundle().with_adapters({{"own", files.style}});
             }),
             Contains("InvalidArgument: adapters: expected a name that is not taken, got 'own'"));
  test::write_bytes(files.bundle / "own.safetensors", "other");
  CHECK_THAT(failure([&] { Bundle::load(files.bundle).model(); }),
             Contains("BadModel: ") && Contains("not the one adapters.own describes"));
  std::filesystem::remove(files.bundle / "own.safetensors");
  CHECK_THAT(
      failure([&] { Bundle::load(files.bundle); }),
      Contains("NotFound: ") && Contains("own.safetensors: no such file, though adapters.own names it"));
}

TEST_CASE("Bundles that differ in adapters share what they load", "[unit]") {
  const Files files;
  const Bundle plain = Bundle::load(files.bundle);
  const Bundle adapted = plain.with_adapters({{"style", files.style}});
  CHECK(adapted.network("denoiser") == plain.network("denoiser"));
  CHECK(adapted.decoder() == plain.decoder());
  CHECK(adapted.model() != plain.model());
  CHECK(adapted.with_adapters({{"detail", files.detail}}).options().adapters.size() == 2);
}

TEST_CASE("W2SD's predictors take their scales from one adapter, or from a pair", "[unit]") {
  const Files files;
  const Pipeline pipeline(Bundle::load(
      files.bundle, {.adapters = {{"style", files.style}, {"same", files.style}, {"detail", files.detail}}}));
  const auto w2sd = [&](OptionValues options, Adapters run = {}) {
    options.emplace("weak_guidance", 3.0);
    GenerateRequest r = request(std::move(run));
    r.with = {{"w2sd", std::move(options)}};
    return latents(pipeline, r);
  };
  const at::Tensor one = w2sd({{"adapter", "style"}, {"strong_adapter", 1.5}, {"weak_adapter", -1.5}});
  CHECK(at::equal(
      w2sd(
          {{"adapter", "style"}, {"strong_adapter", 1.5}, {"other_adapter", "same"}, {"weak_adapter", -1.5}}),
      one));
  CHECK_FALSE(at::equal(w2sd({{"adapter", "style"},
                              {"strong_adapter", 1.0},
                              {"other_adapter", "detail"},
                              {"weak_adapter", 1.0}}),
                        one));
  CHECK_FALSE(at::equal(one, latents(pipeline, request())));
  CHECK_FALSE(at::equal(
      w2sd({{"adapter", "style"}, {"strong_adapter", 1.5}, {"weak_adapter", -1.5}}, {{"style", 0.8}}), one));
  CHECK_THAT(
      failure([&] {
        w2sd({{"adapter", "stile"}, {"strong_adapter", 1.0}, {"weak_adapter", 0.0}});
      }),
      Contains(
          "w2sd, strong predictor: adapters: model 'tiny' has no adapter 'stile'; did you mean 'style'?"));
  CHECK_THAT(failure([&] { w2sd({{"strong_adapter", 1.0}}); }), Contains("w2sd.adapter: expected the name"));
}

TEST_CASE("Requests on several threads may differ in their scales", "[unit]") {
  const Files files;
  const Pipeline pipeline(
      Bundle::load(files.bundle, {.adapters = {{"style", files.style}}, .adapter_sets = 2}));
  const std::array<double, 4> scales{0.0, 1.0, -1.0, 0.5};
  std::array<at::Tensor, 4> alone, together;
  for (size_t i = 0; i < scales.size(); ++i) alone[i] = latents(pipeline, request({{"style", scales[i]}}));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < scales.size(); ++i)
    threads.emplace_back([&, i] { together[i] = latents(pipeline, request({{"style", scales[i]}})); });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < scales.size(); ++i) CHECK(at::equal(together[i], alone[i]));
}

TEST_CASE("Adapters that a bundle cannot have are refused, and it goes on without them", "[unit]") {
  const Files files;
  const Bundle plain = Bundle::load(files.bundle);
  const Pipeline pipeline(plain);
  CHECK(failure([&] {
          pipeline.generate(request({{"style", 1.0}}));
        }) == "InvalidArgument: adapters: model 'tiny' has no adapter 'style'");
  CHECK_THAT(failure([&] {
               plain.with_adapters({{"style", files.folder / "none.safetensors"}});
             }),
             Contains("NotFound: adapters.style: ") && Contains("no such file"));

  const auto broken = [&](const TensorMap& tensors) {
    write_safetensors(files.folder / "broken.safetensors", tensors);
    return failure([&] { plain.with_adapters({{"x", files.folder / "broken.safetensors"}}).model(); });
  };
  TensorMap other = Files::layers(1);
  other["unet.elsewhere.lora_A.weight"] = at::randn({2, 8});
  other["unet.elsewhere.lora_B.weight"] = at::randn({8, 2});
  CHECK_THAT(broken(other), Contains("InvalidArgument: ") &&
                                Contains("broken.safetensors: made for another model?") &&
                                Contains("no weights for 1 of 3 layers: unet.elsewhere"));
  TensorMap wide = Files::layers(1);
  wide["query.lora_A.weight"] = at::randn({2, 9});
  CHECK_THAT(broken(wide), Contains("ShapeMismatch: ") && Contains("'query' changes [8,9] values"));

  TensorMap text = Files::layers(1);
  text["lora_te2_encoder_fc1.lora_down.weight"] = at::randn({2, 8});
  text["lora_te2_encoder_fc1.lora_up.weight"] = at::randn({8, 2});
  CHECK_THAT(broken(text), Contains("InvalidArgument: ") &&
                               Contains("no 'text_encoder_2' for its 1 layers: lora_te2_encoder_fc1"));

  CHECK(pipeline.generate(request()).images.size() == 1);
}

TEST_CASE("A network whose weights are fixed refuses adapters, says what to export, and runs without them",
          "[unit]") {
  const auto denoiser = [](const char* file, const char* backend) {
    return [file, backend](json& j) {
      j["components"]["denoiser"].update(
          {{"file", file}, {"backend", backend}, {"sha256", sha256_file(test::data("modules") / file)}});
    };
  };
  const auto refusal = [](const Files& files) {
    return failure([&] { Bundle::load(files.bundle).with_adapters({{"style", files.style}}).model(); });
  };
  const Files program(denoiser("denoiser.pt2", "pt2")), frozen(denoiser("denoiser_frozen.pt", "torchscript"));
  CHECK(
      refusal(program) ==
      "InvalidArgument: adapters.style: components.denoiser cannot have any: the weights of its pt2 file are "
      "fixed; export it as torchscript, not frozen");
  CHECK(
      refusal(frozen) ==
      "InvalidArgument: adapters.style: components.denoiser cannot have any: denoiser_frozen.pt was frozen, "
      "its weights are constants; export it without torch.jit.freeze");
  // A compiled package is refused before it is loaded: this one is none.
  const Files compiled(denoiser("denoiser.pt2", "aoti"));
  CHECK(refusal(compiled) ==
        "InvalidArgument: adapters.style: components.denoiser cannot have any: the weights of its aoti file "
        "are "
        "fixed; export it as torchscript, not frozen");
  const Files plain;
  const at::Tensor wanted = latents(Pipeline(Bundle::load(plain.bundle)), request());
  for (const Files* files : {&program, &frozen}) {
    const Bundle bundle = Bundle::load(files->bundle);
    CHECK(bundle.model()->info().adapters.empty());
    CHECK(latents(Pipeline(bundle), request()).sub(wanted).abs().max().item<double>() < 1e-3);
  }
}

}  // namespace GLINT_TEST_FILE
