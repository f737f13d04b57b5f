#include <glint/bundle/bundle.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/io/sha256.hpp>
#include <glint/model/model.hpp>
#include <glint/text/text_encoder.hpp>
#include <glint/vae/image_decoder.hpp>
#include <glint/version.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <nlohmann/json.hpp>

#include <thread>

using namespace glint;
using nlohmann::json;
using test::Contains;

namespace GLINT_TEST_FILE {

/// A tiny bundle on disk, with changes to its manifest.
struct TinyBundle {
  test::TemporaryFolder folder;
  explicit TinyBundle(const std::function<void(json&)>& change = [](json&) {}) {
    auto manifest = test::tiny_manifest();
    change(manifest);
    test::write_bundle(folder.path(), manifest);
  }
  Bundle load(const LoadOptions& options = {}) const { return Bundle::load(folder.path(), options); }
};

std::vector<at::Tensor> predict(const Model& model, const Conditioning& conditioning, const at::Tensor& x) {
  const Level level{.model_time = 500.0, .alpha = 0.5, .sigma = 0.5};
  const std::vector<const Conditioning*> branches{&conditioning};
  return model.predict({x, level, branches, {}, {}});
}

TEST_CASE("A bundle gives prompt to conditioning, conditioning to prediction, latents to pixels", "[unit]") {
  const TinyBundle files;
  const auto bundle = files.load();
  const auto expected = read_safetensors(test::data("modules/expected.safetensors"));
  CHECK(bundle.manifest().name == "tiny");
  CHECK(bundle.has("vae_decoder"));
  CHECK_FALSE(bundle.has("scorer"));

  const auto encoded = bundle.text_encoder()->encode("Red star, above!");  // ids 2 5 8
  CHECK(encoded.tokenized.ids == std::vector<int64_t>{2, 5, 8, 0, 0, 0, 0, 0});
  CHECK(encoded.conditioning.tokens.sizes() == at::IntArrayRef({1, 8, 16}));
  CHECK(encoded.conditioning.pooled.sizes() == at::IntArrayRef({1, 8}));
  CHECK(encoded.conditioning.mask.sum().item<int64_t>() == 3);
  CHECK(at::equal(encoded.conditioning.tokens[0][0], expected.at("encoder.tokens")[0][0]));

  const auto x = expected.at("a.latents");
  const auto outputs = predict(*bundle.model(), encoded.conditioning, x);
  REQUIRE(outputs.size() == 1);
  CHECK(outputs[0].sizes() == x.sizes());
  CHECK(bundle.model()->info().parameterization == Parameterization::Velocity);
  CHECK(bundle.model()->info().noise_kind == NoiseKind::Flow);
  CHECK(bundle.model()->info().latent_shape == std::vector<int64_t>{4, -1, -1});

  const auto image = bundle.decoder()->decode(x.sub(0.25).mul(0.5));  // undoes scaling 0.5 and shift 0.25
  CHECK(at::allclose(image, expected.at("a.image"), 1e-5, 1e-6));
}

TEST_CASE("Components are loaded once, even when threads ask together", "[unit]") {
  const TinyBundle files;
  const auto bundle = files.load();
  CHECK(bundle.model() == bundle.model());
  std::array<const void*, 4> got{};
  std::vector<std::thread> threads;
  for (auto& one : got) threads.emplace_back([&] { one = bundle.decoder().get(); });
  for (auto& thread : threads) thread.join();
  for (const void* one : got) CHECK(one == bundle.decoder().get());
  const Bundle copy = bundle;
  CHECK(copy.text_encoder() == bundle.text_encoder());
}

TEST_CASE("What is stored in half precision computes in float32 on a CPU, unless told otherwise", "[unit]") {
  const TinyBundle files([](json& j) {
    for (const char* name : {"denoiser", "vae_decoder", "text_encoder"})
      j["components"][name]["dtype"] = "float16";
    j["components"]["vae_decoder"]["inputs"] = {"latents"};
  });
  const auto x = at::zeros({1, 4, 4, 4});
  const auto single = files.load(), twice = files.load({.dtype = "float64"});
  CHECK(single.network("vae_decoder")->run({x})[0].scalar_type() == at::kFloat);
  CHECK(twice.network("vae_decoder")->run({x.to(at::kDouble)})[0].scalar_type() == at::kDouble);
  CHECK(at::allclose(single.decoder()->decode(x), twice.decoder()->decode(x)));
  CHECK_THAT(test::failure([&] { single.model("vae_decoder"); }),
             Contains("InvalidArgument: components.vae_decoder"));
}

TEST_CASE("What was traced for a precision keeps it, and its weights stay as they are", "[unit]") {
  // The file holds float16, which without `compute` is made what the caller wishes.
  const TinyBundle files([](json& j) { j["components"]["vae_decoder"]["compute"] = "float16"; });
  const auto x = at::zeros({1, 4, 4, 4});
  const auto bundle = files.load({.dtype = "float64"});  // the others follow
  CHECK(bundle.network("vae_decoder")->run({x.to(at::kHalf)})[0].scalar_type() == at::kHalf);
  CHECK(bundle.decoder()->options().dtype == "float16");
  CHECK(predict(*bundle.model(), bundle.text_encoder()->encode("a").conditioning, x).size() == 1);

  const TinyBundle traced([](json& j) { j["components"]["denoiser"]["compute"] = "float32"; });
  CHECK(traced.load({.dtype = "float32"}).model());
  CHECK(test::failure([&] { traced.load({.dtype = "bfloat16"}); }) ==
        "InvalidArgument: dtype: model 'tiny' was exported to compute in float32, got bfloat16; another "
        "precision is another export");
  // A file refuses what a wrong `compute` makes of its inputs.
  const TinyBundle wrong([](json& j) {
    j["components"]["vae_decoder"].update({{"dtype", "float64"}, {"compute", "float64"}});
  });
  CHECK_THAT(test::failure([&] { wrong.load().decoder()->decode(x); }), Contains("Internal: "));
}

TEST_CASE("What is stored in another precision than it was traced for is converted to the latter", "[unit]") {
  const TinyBundle files([](json& j) {
    j["components"]["vae_decoder"].update({{"dtype", "float16"}, {"compute", "float32"}});
  });
  const auto x = at::zeros({1, 4, 4, 4});
  for (const char* wish : {"", "float64"})
    CHECK(files.load({.dtype = wish}).network("vae_decoder")->run({x})[0].scalar_type() == at::kFloat);
}

TEST_CASE("A bundle has as many tokenizers as its manifest names", "[unit]") {
  const auto bundle = Bundle::load(test::data("families/sd3"));
  CHECK(bundle.tokenizer()->length() == 77);
  CHECK(bundle.tokenizer("tokenizer_2")->pad() == 0);
  CHECK(bundle.tokenizer("tokenizer_3")->length() == 256);
  CHECK(bundle.tokenizer("tokenizer_3") == bundle.tokenizer("tokenizer_3"));
  CHECK_THAT(test::failure([&] { bundle.tokenizer("tokenizer_4"); }),
             Contains("NotFound: ") && Contains("no component 'tokenizer_4'"));
  CHECK_THAT(test::failure([&] { bundle.tokenizer("vae_decoder"); }),
             Contains("InvalidArgument: components.vae_decoder: not a tokenizer"));
  CHECK_THAT(test::failure([&] { bundle.network("tokenizer_3"); }),
             Contains("InvalidArgument: components.tokenizer_3: a tokenizer is no network"));
}

TEST_CASE("A bundle may hold an exported program instead of TorchScript", "[unit]") {
  const TinyBundle files([](json& j) {
    j["components"]["denoiser"].update({{"file", "denoiser.pt2"},
                                        {"backend", "pt2"},
                                        {"sha256", sha256_file(test::data("modules/denoiser.pt2"))}});
  });
  const TinyBundle torchscript;
  const auto bundle = files.load({.dtype = "float64"});  // only TorchScript components can follow this wish
  const auto conditioning = bundle.text_encoder()->encode("a star").conditioning;
  const auto x = at::full({2, 4, 6, 6}, 0.25);
  CHECK(at::allclose(predict(*bundle.model(), conditioning, x)[0],
                     predict(*torchscript.load().model(), conditioning, x)[0], 1e-4, 1e-5));
}

TEST_CASE("A damaged file is refused before anything reads it, and the bundle works once it is repaired",
          "[unit]") {
  const TinyBundle files;
  for (const char* name : {"denoiser.pt", "text_encoder.pt", "vae_decoder.pt", "tokenizer.json"}) {
    const auto bundle = files.load();
    const auto good = test::read_bytes(files.folder / name);
    auto bad = good;
    bad[bad.size() / 2] ^= 1;
    test::write_bytes(files.folder / name, bad);
    const auto message = test::failure([&] { bundle.preload(); });
    CAPTURE(name);
    CHECK_THAT(message, Contains("BadModel: " + (files.folder / name).string()) &&
                            Contains("expected SHA-256 " + sha256(good)) && Contains("got " + sha256(bad)));
    test::write_bytes(files.folder / name, good);
    bundle.preload();
  }
}

TEST_CASE("Missing files and components are named", "[unit]") {
  const TinyBundle files([](json& j) {
    j["components"].erase("vae_decoder");
    j["components"].erase("text_encoder");
  });
  const auto bundle = files.load();
  CHECK_THAT(test::failure([&] { bundle.decoder(); }),
             Contains("NotFound: ") && Contains("no component 'vae_decoder'"));
  CHECK_THAT(test::failure([&] { bundle.text_encoder(); }),
             Contains("NotFound: ") && Contains("'text_encoder'"));
  CHECK_THAT(test::failure([&] { bundle.model("weak_denoiser"); }),
             Contains("NotFound: ") && Contains("'weak_denoiser'"));
  CHECK_THAT(test::failure([&] { bundle.network("tokenizer"); }), Contains("InvalidArgument: "));
  CHECK(bundle.model());  // and goes on

  std::filesystem::remove(files.folder / "denoiser.pt");
  CHECK_THAT(
      test::failure([&] { files.load(); }),
      Contains("NotFound: " + (files.folder / "denoiser.pt").string()) && Contains("components.denoiser"));
  CHECK_THAT(test::failure([&] { Bundle::load(files.folder / "none"); }), Contains("NotFound: "));
}

TEST_CASE("A right hash does not make a wrong file a network", "[unit]") {
  const test::TemporaryFolder scratch;
  const auto junk = sha256("junk");
  for (const char* backend : {"torchscript", "pt2", "aoti"}) {
    const TinyBundle files([&](json& j) {
      j["torch"] = "1.0.0";
      j["components"]["denoiser"].update({{"file", "junk.pt"}, {"backend", backend}, {"sha256", junk}});
    });
    test::write_bytes(files.folder / "junk.pt", "junk");
    const auto bundle = files.load();
    CAPTURE(backend);
    CHECK_THAT(test::failure([&] { bundle.model(); }),
               Contains("BadModel: ") && Contains("junk.pt") && Contains("made with torch 1.0.0"));
    CHECK(bundle.decoder());
  }
}

TEST_CASE("That another torch made a bundle is told when it is opened, and refused where it cannot work",
          "[unit]") {
  const auto told = [](const std::string& torch, const std::string& backend = "torchscript") {
    const TinyBundle files([&](json& j) {
      j["torch"] = torch;
      j["components"]["denoiser"]["backend"] = backend;
    });
    std::vector<std::string> messages;
    const Bundle bundle =
        files.load({.warn = [&](const std::string& message) { messages.push_back(message); }});
    if (backend == "torchscript") bundle.model();
    bundle.with_adapters({});
    CHECK(messages.size() <= 1);
    return messages.empty() ? std::string() : messages.front();
  };
  const std::string here = torch_version(), minor = here.substr(0, here.find('.', here.find('.') + 1));
  for (const std::string& same : {here, minor, minor + ".9", minor + ".1+cu130"}) {
    CAPTURE(same);
    CHECK(told(same).empty());
  }
  for (const std::string other : {"1.13.1", "2.1.0", "3.0.0a0+git", "nightly"}) {
    CAPTURE(other);
    CHECK(told(other) == "model 'tiny' was made with torch " + other + " and is loaded with torch " + here +
                             ": results may differ in their last digits; export it again if a component is "
                             "refused");
  }
  const TinyBundle silent([](json& j) { j["torch"] = "2.1.0"; });
  CHECK(silent.load().model());  // nobody listens

  const TinyBundle compiled([](json& j) {
    j["torch"] = "2.1.0";
    j["components"]["denoiser"]["backend"] = "aoti";
  });
  CHECK(test::failure([&] { compiled.load().model(); }) ==
        "BadModel: components.denoiser: denoiser.pt was made with torch 2.1.0, this is torch " + here +
            "; a compiled package runs only with the torch that compiled it: export it again, or as "
            "torchscript or "
            "pt2");
  // The same torch gets as far as reading the file, which is none.
  const TinyBundle current([&](json& j) {
    j["torch"] = minor + ".9";
    j["components"]["denoiser"]["backend"] = "aoti";
  });
  CHECK_THAT(test::failure([&] { current.load().model(); }),
             Contains("cannot be loaded as an AOTInductor package") &&
                 Contains("(made with torch " + minor + ".9, loaded with torch " + here + ")"));
}

TEST_CASE("Wrong prompts and latents are refused, and the same objects go on", "[unit]") {
  const TinyBundle files;
  const auto bundle = files.load();
  const auto encoder = bundle.text_encoder();
  const auto decoder = bundle.decoder();
  CHECK(test::failure([&] { encoder->encode("a \xC3"); }) ==
        "InvalidArgument: prompt: not UTF-8 at byte offset 2");
  CHECK(encoder->encode("").conditioning.mask.sum().item<int64_t>() == 0);
  CHECK(encoder->encode("a purple star").tokenized.unknown == std::vector<std::string>{"purple"});
  CHECK_THAT(test::failure([&] {
               decoder->decode(at::zeros({1, 3, 8, 8}));
             }),
             Contains("ShapeMismatch: latents: expected [B,4,H,W]"));
  CHECK_THAT(test::failure([&] { decoder->decode(at::Tensor()); }), Contains("ShapeMismatch: latents"));
  CHECK_THAT(test::failure([&] {
               decoder->decode(at::zeros({1, 4, 8, 8}, at::kLong));
             }),
             Contains("UnsupportedDtype"));
  CHECK(decoder->decode(at::zeros({1, 4, 8, 8})).sizes() == at::IntArrayRef({1, 3, 16, 16}));
  CHECK_THAT(test::failure([&] {
               predict(*bundle.model(), encoder->encode("a").conditioning, at::zeros({1, 8, 4, 4}));
             }),
             Contains("ShapeMismatch: latents"));
  CHECK(predict(*bundle.model(), encoder->encode("a").conditioning, at::zeros({1, 4, 4, 4})).size() == 1);
}

TEST_CASE("A decoder that returns another size than the manifest says is a bad model", "[unit]") {
  const TinyBundle files([](json& j) { j["latent"]["spatial_scale"] = 8; });
  CHECK_THAT(test::failure([&] {
               files.load().decoder()->decode(at::zeros({1, 4, 8, 8}));
             }),
             Contains("BadModel: image decoder: expected [1,3,64,64], got [1,3,16,16]"));
}

TEST_CASE("Load options are checked when the bundle is opened", "[unit]") {
  const TinyBundle files;
  CHECK_THAT(test::failure([&] { files.load({.device = "gpu"}); }), Contains("InvalidArgument: device"));
  CHECK_THAT(test::failure([&] { files.load({.dtype = "half"}); }), Contains("InvalidArgument: dtype"));
  CHECK(files.load().model()->info().gradients);  // TorchScript; recorded when a caller asks for it
}

}  // namespace GLINT_TEST_FILE
