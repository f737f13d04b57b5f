// What a bundle has in memory: counted, limited, let go of and loaded again, with the same bits.
#include <glint/io/safetensors.hpp>
#include <glint/pipeline/pipeline.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/families.hpp"
#include "tests/support/files.hpp"

#include <ATen/ops/equal.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <set>
#include <thread>

using namespace glint;
using test::Contains;
using test::failure;

namespace GLINT_TEST_FILE {

using Memory = std::map<std::string, int64_t>;

int64_t total(const Memory& memory) {
  int64_t sum = 0;
  for (const auto& [name, bytes] : memory) sum += bytes;
  return sum;
}

/// Notes which components are in memory, and how much at most, in each stage of a run.
class Watch final : public Observer {
 public:
  explicit Watch(const Bundle& bundle) : bundle_(bundle) {}

  void on_stage(std::string_view name, int, int) override { note(std::string(name)); }
  bool on_step(const StepEvent&) override {
    note("denoise");
    return true;
  }

  std::map<std::string, std::set<std::string>> seen;
  int64_t most = 0;

 private:
  void note(const std::string& stage) {
    const Memory memory = bundle_.memory();
    most = std::max(most, total(memory));
    for (const auto& [name, bytes] : memory) seen[stage].insert(name);
  }
  const Bundle& bundle_;
};

GenerateRequest request(const std::string& family) {
  GenerateRequest request{.prompts = {"red apple"}, .steps = 2, .seed = 3, .count = 3, .batch = 2};
  request.width = request.height = 32;
  if (family == "wan") request.frames = 5;
  return request;
}

std::set<std::string> names(const Memory& memory) {
  std::set<std::string> names;
  for (const auto& [name, bytes] : memory) names.insert(name);
  return names;
}

TEST_CASE("The bytes of a component are those of its weights", "[unit]") {
  const test::FamilyBundle files("sdxl");
  for (const bool pack : {false, true}) {
    CAPTURE(pack);
    const Bundle bundle = files.load({.pack = pack});
    CHECK(bundle.memory().empty());
    const auto network = bundle.network("denoiser");
    CHECK(names(bundle.memory()) == std::set<std::string>{"denoiser"});
    WeightBytes weights;
    weights.add(network->weights());
    REQUIRE(weights.total() > 0);
    // Buffers and constants come on top, and the plain weights that were asked for beside packed ones.
    const int64_t bytes = bundle.memory().at("denoiser");
    CHECK(bytes >= weights.total());
    CHECK(bytes <= bundle.weight_bytes("denoiser"));
    if (!pack) CHECK(bytes < weights.total() * 11 / 10);
  }
  // Before it is loaded, the file tells: the right order of size.
  const Bundle bundle = files.load();
  const int64_t expected = bundle.weight_bytes("text_encoder");
  bundle.network("text_encoder");
  const int64_t loaded = bundle.memory().at("text_encoder");
  CHECK(expected >= loaded);
  CHECK_THAT(failure([&] { bundle.weight_bytes("no"); }), Contains("NotFound: ") && Contains("'no'"));
}

TEST_CASE("Freeing each stage's weights when it ends changes no bit", "[unit]") {
  for (const std::string family : {"sdxl", "sd3", "flux", "wan"}) {
    CAPTURE(family);
    const test::FamilyBundle files(family);
    const Pipeline plain(files.load()), freeing(files.load());
    GenerateRequest r = request(family);
    const GenerateResult expected = plain.generate(r);
    CHECK(plain.bundle().memory().size() >= 3);
    r.free_params_immediately = true;
    for (int run = 0; run < 2; ++run) {  // the second knows the networks
      Watch watch(freeing.bundle());
      r.observer = &watch;
      const GenerateResult result = freeing.generate(r);
      CHECK(at::equal(result.sample.latents, expected.sample.latents));
      REQUIRE(result.images.size() == expected.images.size());
      for (size_t i = 0; i < result.images.size(); ++i)
        CHECK(result.images[i].pixels == expected.images[i].pixels);
      for (size_t i = 0; i < result.videos.size(); ++i)
        CHECK(result.videos[i].frames.back().pixels == expected.videos[i].frames.back().pixels);
      CHECK(watch.seen["denoise"] == std::set<std::string>{"denoiser"});
      for (const std::string& name : watch.seen["decode"]) CHECK(name.starts_with("vae_decoder"));
      CHECK(freeing.bundle().memory().empty());
    }
  }
}

TEST_CASE("Weights that an adapter changes are counted and let go of like the others", "[unit]") {
  const test::FamilyBundle files("sdxl");
  const auto load = [&] {
    return Pipeline(files.load({.adapters = {{"style", test::data("families/sdxl/lora-text.safetensors")}}}));
  };
  const Pipeline plain = load(), freeing = load();
  GenerateRequest r = request("sdxl");
  const at::Tensor without = plain.generate(r).sample.latents;
  const int64_t base = plain.bundle().memory().at("text_encoder");
  r.adapters = {{"style", 0.7}};
  const at::Tensor with = plain.generate(r).sample.latents;
  REQUIRE_FALSE(at::equal(with, without));
  CHECK(plain.bundle().memory().at("text_encoder") > base);
  CHECK(plain.bundle().memory().contains("adapters"));
  r.free_params_immediately = true;
  for (int run = 0; run < 2; ++run) {
    CHECK(at::equal(freeing.generate(r).sample.latents, with));
    CHECK(names(freeing.bundle().memory()) == std::set<std::string>{"adapters"});
  }
}

TEST_CASE("A limit is kept by letting go of what is idle, or the run is refused before anything is loaded",
          "[unit]") {
  const test::FamilyBundle files("flux");
  const Pipeline free(files.load());
  GenerateRequest r = request("flux");
  const GenerateResult expected = free.generate(r);
  const Bundle measured = files.load();
  const auto needs = [&](const std::vector<std::string>& components) {
    int64_t bytes = 0;
    for (const std::string& name : components) bytes += measured.weight_bytes(name);
    return bytes;
  };
  const int64_t encoders = needs({"text_encoder", "text_encoder_2"}), denoiser = needs({"denoiser"}),
                decoder = needs({"vae_decoder"}), largest = std::max({encoders, denoiser, decoder});

  const Pipeline limited(files.load({.memory_limit = largest}));
  Watch watch(limited.bundle());
  r.observer = &watch;
  for (int run = 0; run < 2; ++run) {
    CHECK(at::equal(limited.generate(r).sample.latents, expected.sample.latents));
    CHECK(watch.most > 0);
    CHECK(watch.most <= largest);
  }

  const Pipeline refused(files.load({.memory_limit = largest - 1}));
  CHECK_THAT(failure([&] { refused.generate(r); }),
             Contains("OutOfMemory: memory_limit: expected at least the " + std::to_string(largest)));
  CHECK(refused.bundle().memory().empty());

  // Previews decode beside the denoiser.
  r.previews = true;
  CHECK_THAT(failure([&] { limited.generate(r); }), Contains("denoiser and vae_decoder"));
  const Pipeline roomy(files.load({.memory_limit = std::max(denoiser + decoder, encoders)}));
  CHECK(at::equal(roomy.generate(r).sample.latents, expected.sample.latents));

  CHECK_THAT(failure([&] { files.load({.memory_limit = -1}); }),
             Contains("memory_limit: expected 0 or more"));
}

TEST_CASE("A component that finds no room beside those of its stage is refused by name", "[unit]") {
  const test::FamilyBundle files("sdxl", "model.json", [](nlohmann::json& manifest) {
    manifest["components"]["weak_denoiser"] = manifest["components"]["denoiser"];
  });
  const int64_t denoiser = files.load().weight_bytes("denoiser");
  const Bundle bundle = files.load({.memory_limit = denoiser * 3 / 2});
  const auto network = bundle.network("denoiser");
  CHECK_THAT(failure([&] { bundle.network("weak_denoiser"); }),
             Contains("OutOfMemory: components.weak_denoiser: needs") && Contains("memory_limit is"));
  CHECK(names(bundle.memory()) == std::set<std::string>{"denoiser"});  // it would be wanted back at once
  bundle.free_params();
  bundle.network("weak_denoiser");
  CHECK(names(bundle.memory()) == std::set<std::string>{"weak_denoiser"});
}

TEST_CASE("Objects made before weights were let go of load them again, verified", "[unit]") {
  const test::FamilyBundle files("sdxl");
  const Pipeline pipeline(files.load());
  const GenerateRequest r = request("sdxl");
  const at::Tensor expected = pipeline.generate(r).sample.latents;
  const auto model = pipeline.bundle().model();
  pipeline.bundle().free_params();
  CHECK(pipeline.bundle().memory().empty());
  CHECK(pipeline.bundle().model() == model);
  CHECK(at::equal(pipeline.generate(r).sample.latents, expected));

  pipeline.bundle().free_params();
  const auto file = files.folder / pipeline.bundle().manifest().components.at("denoiser").file;
  const auto target = std::filesystem::read_symlink(file);
  std::filesystem::remove(file);
  test::write_bytes(file, test::read_bytes(target) + "x");
  CHECK_THAT(failure([&] { pipeline.generate(r); }),
             Contains("BadModel: ") && Contains("not the one components.denoiser describes"));
  std::filesystem::remove(file);
  std::filesystem::create_symlink(target, file);
  CHECK(at::equal(pipeline.generate(r).sample.latents, expected));
}

TEST_CASE("Weights may be let go of while others run", "[unit]") {
  const test::FamilyBundle files("sdxl");
  const Pipeline pipeline(files.load({.memory_limit = int64_t{1} << 40}));
  GenerateRequest r = request("sdxl");
  r.count = 1;
  const at::Tensor expected = pipeline.generate(r).sample.latents;
  std::atomic<int> same = 0, running = 2;
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      GenerateRequest own = r;
      own.free_params_immediately = t == 1;
      for (int run = 0; run < 4; ++run)
        if (at::equal(pipeline.generate(own).sample.latents, expected)) ++same;
      --running;
    });
  while (running > 0) {
    pipeline.bundle().free_params();
    pipeline.bundle().memory();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(same == 8);
}

}  // namespace GLINT_TEST_FILE
