// Collections: what is stored is what sampling does, an interrupted run ends in the same files, nothing
// foreign is touched.
#include <glint/catalog/components.hpp>
#include <glint/collect/noise_pairs.hpp>
#include <glint/collect/trajectories.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/io/sha256.hpp>
#include <glint/pipeline/pipeline.hpp>

#include "tests/support/files.hpp"
#include "tests/support/samplers.hpp"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <sys/stat.h>

#include <limits>

namespace glint {
namespace GLINT_TEST_FILE {

namespace fs = std::filesystem;
using test::Contains;

/// A pipeline over the tiny bundle, in a folder with room for collections.
struct Tiny {
  Tiny() {
    nlohmann::json m = test::tiny_manifest();
    m["latent"]["height"] = m["latent"]["width"] = 8;
    m["default_steps"] = 3;
    test::write_bundle(folder / "tiny", m);
  }
  Pipeline pipeline() const { return Pipeline(Bundle::load(folder / "tiny")); }
  CollectRequest request(const std::string& name) const {
    return {.folder = folder / name,
            .generate = {.prompts = {"red star", "blue circle", "small red star"},
                         .steps = 4,
                         .guidance = 2.5,
                         .seed = 11,
                         .count = 3,
                         .batch = 2},
            .shard = 4,
            .stored = StoredType::Float32};
  }
  test::TemporaryFolder folder;
};

nlohmann::json manifest_of(const fs::path& folder) {
  return nlohmann::json::parse(test::read_bytes(folder / "collection.json"));
}

/// Every file of a folder, by name.
std::map<std::string, std::string> content(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder))
    files[entry.path().filename().string()] = test::read_bytes(entry.path());
  return files;
}

/// Cancels at one of the calls it is asked about.
struct StopAt final : Observer {
  explicit StopAt(int calls) : left(calls) {}
  bool keep_going() override { return left-- > 0; }
  int left;
};

TEST_CASE("Trajectories are the latents and predictions of generate", "[unit]") {
  const Tiny tiny;
  const Pipeline pipeline = tiny.pipeline();
  const CollectRequest request = tiny.request("t");
  const CollectResult result = collect_trajectories(pipeline, request);
  CHECK(result.items == 9);
  CHECK(result.kept == 9);
  CHECK(result.shards == 3);
  CHECK(result.resumed_items == 0);
  CHECK(result.usage.rows == 9 * 4 * 2);

  const nlohmann::json manifest = manifest_of(request.folder);
  CHECK(manifest["complete"] == true);
  CHECK(manifest["kind"] == "trajectories");
  CHECK(manifest["options"]["guidance"] == 2.5);
  CHECK(manifest["shards"][2]["items"] == 1);
  CHECK(nlohmann::json::parse(test::read_bytes(request.folder / "prompts.json")) ==
        nlohmann::json(request.generate.prompts));

  const TensorMap second = read_safetensors(request.folder / "shard-00001.safetensors");  // items 4 to 7
  CHECK(second.at("latents").sizes() == at::IntArrayRef({4, 4, 4, 8, 8}));
  CHECK(second.at("tokens").sizes().slice(0, 2) == at::IntArrayRef({4, 8}));
  CHECK(second.at("null_tokens").size(0) == 1);
  for (int64_t row = 0; row < 4; ++row) {
    const int64_t item = 4 + row, prompt = item / 3;
    CHECK(second.at("prompt")[row].item<int64_t>() == prompt);
    CHECK(second.at("seed")[row].item<int64_t>() == 11 + item);
    const GenerateResult picture =
        pipeline.generate({.prompts = {request.generate.prompts[static_cast<size_t>(prompt)]},
                           .steps = 4,
                           .guidance = 2.5,
                           .seed = static_cast<uint64_t>(11 + item),
                           .keep_trajectory = true,
                           .decode = false});
    for (int64_t step = 0; step < 4; ++step) {
      const at::Tensor x = second.at("latents")[row][step], cond = second.at("output")[row][step],
                       uncond = second.at("null_output")[row][step];
      // Other batches round otherwise: four float32 steps of values of about 1.
      CHECK(at::allclose(x, picture.sample.trajectory[static_cast<size_t>(step)][0], 1e-5, 1e-5));
      // sigma falls by 1/4 at every step of an unshifted flow.
      const at::Tensor next = x.sub(uncond.add(cond.sub(uncond), 2.5), 0.25);
      CHECK(at::allclose(next, picture.sample.trajectory[static_cast<size_t>(step) + 1][0], 1e-5, 1e-5));
      CHECK_FALSE(at::allclose(cond, uncond, 1e-3, 1e-3));
    }
  }
  CHECK(second.at("sigma").sizes() == at::IntArrayRef({4}));
  CHECK(second.at("sigma")[1].item<float>() == 0.75f);
  CHECK(second.at("position")[1].item<float>() == 0.25f);
}

TEST_CASE("Without a negative prompt the negative prompt is the family's own: zeros for SDXL", "[unit]") {
  const test::TemporaryFolder folder;
  const Pipeline pipeline(Bundle::load(test::data("families/sdxl")));
  CollectRequest request{.folder = folder / "absent",
                         .generate = {.prompts = {"a fox"}, .steps = 2, .seed = 3},
                         .stored = StoredType::Float32};
  collect_trajectories(pipeline, request);
  const TensorMap absent = read_safetensors(request.folder / "shard-00000.safetensors");
  CHECK(absent.at("null_tokens").abs().max().item<double>() == 0.0);
  CHECK(manifest_of(request.folder)["options"]["negative"].is_null());
  const at::Tensor last =
      pipeline
          .generate({.prompts = {"a fox"}, .steps = 2, .seed = 3, .keep_trajectory = true, .decode = false})
          .sample.trajectory.at(1);
  CHECK(at::equal(absent.at("latents").select(1, 1), last));
  request.folder = folder / "empty";
  request.generate.negative = "";
  collect_trajectories(pipeline, request);
  const TensorMap empty = read_safetensors(request.folder / "shard-00000.safetensors");
  CHECK(empty.at("null_tokens").abs().max().item<double>() > 0.1);
}

TEST_CASE("Stored as float16, a collection is the rounded one", "[unit]") {
  const Tiny tiny;
  CollectRequest request = tiny.request("single");
  collect_trajectories(tiny.pipeline(), request);
  request.folder = tiny.folder / "half";
  request.stored = StoredType::Float16;
  collect_trajectories(tiny.pipeline(), request);
  const TensorMap exact = read_safetensors(tiny.folder / "single/shard-00000.safetensors"),
                  rounded = read_safetensors(tiny.folder / "half/shard-00000.safetensors");
  for (const char* name : {"latents", "output", "null_output", "tokens", "null_tokens"})
    CHECK(at::equal(rounded.at(name), exact.at(name).to(at::kHalf)));
  CHECK(at::equal(rounded.at("sigma"), exact.at("sigma")));
}

TEST_CASE("An interrupted collection goes on to the same files", "[unit]") {
  const Tiny tiny;
  const Pipeline pipeline = tiny.pipeline();
  collect_trajectories(pipeline, tiny.request("whole"));
  CollectRequest request = tiny.request("parts");
  for (int stop : {0, 3, 9, 10}) {  // before anything; in the first shard; in the second; in the last
    StopAt observer(stop);
    request.generate.observer = &observer;
    CAPTURE(stop);
    CHECK_THAT(test::failure([&] { collect_trajectories(pipeline, request); }), Contains("Cancelled"));
    CHECK(manifest_of(request.folder)["complete"] == false);
  }
  // What a kill can leave: a file half written, and a shard that is not listed yet.
  test::write_bytes(request.folder / "shard-00002.safetensors.123-0.tmp", "half");
  test::write_bytes(request.folder / ".glint-0123456789abcdef.tmp", "half");
  test::write_bytes(request.folder / "shard-00002.safetensors", "unlisted");
  request.generate.observer = nullptr;
  const CollectResult rest = collect_trajectories(pipeline, request);
  CHECK(rest.resumed_items == 8);
  CHECK(content(request.folder) == content(tiny.folder / "whole"));

  const CollectResult nothing = collect_trajectories(pipeline, request);
  CHECK(nothing.resumed_items == 9);
  CHECK(nothing.usage.rows == 0);
  // A shard that is not what the manifest says is made again, and so are prompts that are not those of the
  // shards.
  test::write_bytes(request.folder / "shard-00001.safetensors", "damaged");
  CHECK(collect_trajectories(pipeline, request).resumed_items == 5);
  CHECK(content(request.folder) == content(tiny.folder / "whole"));
  test::write_bytes(request.folder / "prompts.json", "[]");
  CHECK(collect_trajectories(pipeline, request).resumed_items == 9);
  CHECK(content(request.folder) == content(tiny.folder / "whole"));
}

TEST_CASE("Processes that share a collection end in the same files, in any order", "[unit]") {
  const Tiny tiny;
  const Pipeline pipeline = tiny.pipeline();
  collect_trajectories(pipeline, tiny.request("whole"));
  CollectRequest request = tiny.request("shared");
  request.share = {.rank = 1, .ranks = 2, .patience = 0.0};
  CollectProgress told{};
  request.progress = [&](const CollectProgress& p) { told = p; };
  const CollectResult second = collect_trajectories(pipeline, request);  // shard 1 of 0, 1, 2
  CHECK((second.items == 4 && second.shards == 1 && told.done == 4 && told.total == 4));
  CHECK_FALSE(fs::exists(request.folder / "collection.json"));  // the first process's
  request.share.rank = 0;
  const CollectResult first = collect_trajectories(pipeline, request);
  CHECK((first.items == 9 && first.resumed_items == 0 && told.total == 5));  // of its share
  CHECK(first.usage.rows + second.usage.rows == 9 * 2 * 4);
  CHECK(content(request.folder) == content(tiny.folder / "whole"));
  // Three processes go on with what two left, and one with what three left: without a shard that was changed.
  const fs::path last = request.folder / "shard-00002.safetensors";
  test::write_bytes(last, test::read_bytes(last).replace(4000, 1, "?"));
  request.share.ranks = 3;
  CHECK_THAT(test::failure([&] { collect_trajectories(pipeline, request); }),
             Contains("1 of 3 shards are missing and no other process is collecting them"));
  request.share = {};
  CHECK(collect_trajectories(pipeline, request).resumed_items == 8);
  CHECK(content(request.folder) == content(tiny.folder / "whole"));

  request.share = {.rank = 2, .ranks = 2};
  CHECK_THAT(test::failure([&] { collect_trajectories(pipeline, request); }),
             Contains("rank: expected a value in [0, 1], got 2"));
}

TEST_CASE("A manifest that counts what cannot be is not believed", "[unit]") {
  const Tiny tiny;
  const Pipeline pipeline = tiny.pipeline();
  const CollectRequest request = tiny.request("t");
  collect_trajectories(pipeline, request);
  const auto whole = content(request.folder);
  const std::pair<const char*, nlohmann::json> damages[] = {{"items", 1000000000000000000},
                                                            {"items", -5},
                                                            {"items", 1.5},
                                                            {"items", "4"},
                                                            {"kept", 99},
                                                            {"kept", -1},
                                                            {"file", 3},
                                                            {"file", "shard-00001.safetensors"},
                                                            {"sha256", 3}};
  for (const auto& [name, value] : damages) {
    nlohmann::ordered_json manifest = nlohmann::ordered_json::parse(whole.at("collection.json"));
    manifest["shards"][0][name] = value;
    manifest["complete"] = "yes";
    test::write_bytes(request.folder / "collection.json", manifest.dump());
    CAPTURE(name, value.dump());
    const CollectResult again = collect_trajectories(pipeline, request);
    // How many a shard kept is counted in the shard; what else differs makes it another shard.
    CHECK(again.resumed_items == (std::string_view(name) == "kept" ? 9 : 5));
    CHECK(again.items == 9);
    CHECK(content(request.folder) == whole);
  }
}

TEST_CASE("A manifest is corrected to what is on disk, or made anew, and both are said", "[unit]") {
  const Tiny tiny;
  std::vector<std::string> told;
  const Pipeline pipeline(
      Bundle::load(tiny.folder / "tiny", {.warn = [&](const std::string& m) { told.push_back(m); }}));
  const CollectRequest request = tiny.request("t");
  collect_trajectories(pipeline, request);
  const auto whole = content(request.folder);
  const auto manifest = request.folder / "collection.json";
  const auto resumed = [&] {
    told.clear();
    const CollectResult again = collect_trajectories(pipeline, request);
    CHECK(content(request.folder) == whole);
    return again.resumed_items;
  };
  CHECK(resumed() == 9);
  CHECK(told.empty());
  for (const auto& [name, value] :
       {std::pair<const char*, nlohmann::json>{"complete", false}, {"items", 7}, {"kept", 0}}) {
    nlohmann::ordered_json changed = nlohmann::ordered_json::parse(whole.at("collection.json"));
    changed[name] = value;
    test::write_bytes(manifest, changed.dump());
    CAPTURE(name);
    CHECK(resumed() == 9);
    REQUIRE(told.size() == 1);
    CHECK_THAT(told[0], Contains("collection.json did not agree with its shards; corrected"));
  }
  // What a power failure can leave of the manifest.
  for (const char* left : {"", "{\"format\": 1, \"sha", "[]"}) {
    test::write_bytes(manifest, left);
    CAPTURE(left);
    CHECK(resumed() == 9);
    REQUIRE(told.size() == 1);
    CHECK_THAT(told[0], Contains("collection.json was unreadable; made anew from 3 shards"));
  }
  std::filesystem::remove(manifest);
  CHECK(resumed() == 9);
  CHECK_THAT(told.at(0), Contains("collection.json was missing; made anew from 3 shards"));

  // Shards of another collection are not adopted.
  test::write_bytes(manifest, "");
  CollectRequest other = request;
  other.generate.seed = 99;
  CHECK_THAT(test::failure([&] { collect_trajectories(pipeline, other); }), Contains("holds something else"));
  CHECK(resumed() == 9);
  test::write_bytes(manifest, "{");
  CHECK_THAT(test::failure([&] { collect_trajectories(pipeline, other); }),
             Contains("BadModel: ") && Contains("not valid JSON"));
}

TEST_CASE("Pipes where files belong and links in a circle are refused, not waited for", "[unit]") {
  const Tiny tiny;
  const Pipeline pipeline = tiny.pipeline();
  for (const char* name : {"shard-00000.safetensors", "collection.json", "prompts.json"}) {
    const CollectRequest request = tiny.request(name);
    std::filesystem::create_directories(request.folder);
    REQUIRE(::mkfifo((request.folder / name).c_str(), 0600) == 0);
    CAPTURE(name);
    CHECK_THAT(test::failure([&] { collect_trajectories(pipeline, request); }),
               Contains(std::string(name) + ", which is no file"));
  }
  const CollectRequest looped = tiny.request("looped");
  std::filesystem::create_directories(looped.folder);
  std::filesystem::create_symlink("collection.json", looped.folder / "collection.json");
  CHECK_THAT(test::failure([&] { collect_trajectories(pipeline, looped); }),
             Contains("InvalidArgument: folder: "));
}

TEST_CASE("Batches and shards of any size are counted without overflow", "[unit]") {
  const Tiny tiny;
  const Pipeline pipeline = tiny.pipeline();
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  CollectRequest request = tiny.request("huge");
  for (int64_t* field : {&request.generate.batch, &request.generate.count, &request.shard}) {
    const int64_t before = *field;
    *field = kHuge;
    CHECK_THAT(test::failure([&] { collect_trajectories(pipeline, request); }),
               Contains("expected at most 2147483648, got 9223372036854775807"));
    *field = before;
  }
  request.generate.batch = int64_t{1} << 31;
  const CollectResult result = collect_trajectories(pipeline, request);
  CHECK(result.items == 9);
}

TEST_CASE("A collection refuses what it cannot do, and leaves other folders alone", "[unit]") {
  const Tiny tiny;
  const Pipeline pipeline = tiny.pipeline();
  const CollectRequest good = tiny.request("good");
  collect_trajectories(pipeline, good);
  const auto before = content(good.folder);
  const auto refused = [&](auto change) {
    CollectRequest request = good;
    change(request);
    return test::failure([&] { collect_trajectories(pipeline, request); });
  };
  CHECK_THAT(refused([](CollectRequest& r) { r.generate.prompts.clear(); }),
             Contains("InvalidArgument: prompts: expected at least one, got none"));
  CHECK_THAT(refused([](CollectRequest& r) { r.generate.prompts = {"a", "\xff"}; }), Contains("not UTF-8"));
  CHECK_THAT(refused([](CollectRequest& r) { r.generate.with = {"z-sampling"}; }),
             Contains("methods, adapters, conditionings and noise cannot be collected with"));
  CHECK_THAT(refused([](CollectRequest& r) { r.shard = 0; }), Contains("shard: expected at least 1, got 0"));
  CHECK_THAT(refused([](CollectRequest& r) { r.generate.batch = -1; }),
             Contains("batch: expected at least 1, got -1"));
  CHECK_THAT(refused([](CollectRequest& r) { r.generate.count = 0; }),
             Contains("count: expected at least 1, got 0"));
  CHECK_THAT(refused([](CollectRequest& r) { r.generate.seed = uint64_t{1} << 63; }),
             Contains("seed: 9223372036854775808 and the 9 after it are stored as int64"));
  CHECK_THAT(refused([](CollectRequest& r) { r.folder.clear(); }), Contains("folder: expected one"));
  CHECK_THAT(refused([](CollectRequest& r) { r.folder = "/proc/nowhere/collection"; }),
             Contains("cannot be made"));
  CHECK_THAT(refused([](CollectRequest& r) { r.generate.guidance = 3.0; }),
             Contains("its options.guidance is 2.5, this run's is 3.0"));
  CHECK_THAT(refused([](CollectRequest& r) { r.generate.seed = 12; }),
             Contains("its options.seed is 11, this run's is 12"));
  CHECK_THAT(refused([](CollectRequest& r) { r.generate.prompts.pop_back(); }),
             Contains("its prompts.count is 3"));
  CHECK_THAT(refused([](CollectRequest& r) { r.generate.prompts.back() += "s"; }),
             Contains("prompts.sha256"));
  CHECK(content(good.folder) == before);

  // Another model of the same name.
  test::write_bytes(tiny.folder / "tiny/tokenizer.json",
                    test::read_bytes(tiny.folder / "tiny/tokenizer.json") + " ");
  nlohmann::json m = nlohmann::json::parse(test::read_bytes(tiny.folder / "tiny/model.json"));
  m["components"]["tokenizer"]["sha256"] = sha256_file(tiny.folder / "tiny/tokenizer.json");
  test::write_bytes(tiny.folder / "tiny/model.json", m.dump());
  CHECK_THAT(test::failure([&] { collect_trajectories(tiny.pipeline(), good); }),
             Contains("its model.components.tokenizer is"));

  fs::create_directory(tiny.folder / "other");
  test::write_bytes(tiny.folder / "other/notes.txt", "mine");
  CHECK_THAT(refused([&](CollectRequest& r) { r.folder = tiny.folder / "other"; }),
             Contains("holds something else (notes.txt)"));
  CHECK(content(tiny.folder / "other").size() == 1);
  CHECK_THAT(refused([&](CollectRequest& r) { r.folder = tiny.folder / "other/notes.txt"; }),
             Contains("notes.txt cannot be made"));

  // Two runs into one folder: the second one is refused while the first one works.
  CollectRequest outer = tiny.request("shared");
  std::string inner_failure;
  outer.progress = [&](const CollectProgress&) {
    CollectRequest inner = tiny.request("shared");
    inner.share.ranks = 2;  // nor is a process that would share
    inner_failure = test::failure([&] { collect_trajectories(pipeline, inner); });
  };
  collect_trajectories(pipeline, outer);
  CHECK_THAT(inner_failure, Contains("another run is collecting into"));
}

TEST_CASE("A folder of somebody else's is left as it is", "[unit]") {
  const Tiny tiny;
  const Pipeline pipeline = tiny.pipeline();
  const CollectRequest request = tiny.request("theirs");
  fs::create_directories(request.folder);
  const auto refused = [&](const std::string& file, const std::string& bytes) {
    test::write_bytes(request.folder / file, bytes);
    const auto before = content(request.folder);
    const std::string message = test::failure([&] { collect_trajectories(pipeline, request); });
    CHECK(content(request.folder) == before);
    fs::remove(request.folder / file);
    return message;
  };
  for (const char* file : {"shard-notes.tmp", "shard-00000.safetensors", "x.txt"})
    CHECK_THAT(refused(file, "mine"), Contains(fmt::format("holds something else ({})", file)));
  CHECK_THAT(refused("prompts.json", "[\"my own list\"]"), Contains("holds something else (prompts.json)"));
  CHECK_THAT(refused("prompts.json", "my own list"), Contains("holds something else (prompts.json)"));
  // What a run leaves that was killed at its beginning.
  test::write_bytes(request.folder / "collection.json.123-4.tmp", "{");
  test::write_bytes(request.folder / "prompts.json", nlohmann::json(request.generate.prompts).dump());
  CHECK(collect_trajectories(pipeline, request).items == 9);
}

TEST_CASE("Noise pairs are a reflection at the first step, kept where the score rises", "[unit]") {
  const test::TemporaryFolder folder;
  const Pipeline pipeline(Bundle::load(test::source_dir() / "models/emoji-flow"));
  const CollectRequest request{
      .folder = folder / "pairs",
      .generate = {.prompts = {"red apple", "a small key left of a red star", "crown"},
                   .steps = 2,
                   .seed = 5,
                   .count = 2,
                   .batch = 3}};
  const NoisePairOptions options{.guidance_forward = 4.0, .guidance_inverse = 0.0};
  const CollectResult result = collect_noise_pairs(pipeline, request, options);
  CHECK(result.items == 6);
  // Per item: a reflection of 2 + 1 rows, and two runs of 2 steps of 2 rows.
  CHECK(result.usage.rows == 6 * (3 + 2 * 2 * 2));
  const TensorMap shard = read_safetensors(request.folder / "shard-00000.safetensors");
  const at::Tensor candidates = shard.at("candidate_scores"), scores = shard.at("scores");
  REQUIRE(candidates.sizes() == at::IntArrayRef({6, 2}));
  REQUIRE(result.kept >= 1);
  CHECK(result.kept == candidates.select(1, 1).gt(candidates.select(1, 0)).sum().item<int64_t>());
  CHECK(scores.select(1, 1).gt(scores.select(1, 0)).all().item<bool>());
  CHECK(manifest_of(request.folder)["kept"] == result.kept);

  // The first pair again, through the reflection as a strategy and the scorer by hand.
  struct Refined final : Observer {
    at::Tensor x;
    bool on_step(const StepEvent& event) override {
      if (event.step == 0) x = event.x_refined.clone();
      return true;
    }
  } refined;
  const int64_t prompt = shard.at("prompt")[0].item<int64_t>();
  GenerateRequest again{
      .prompts = {request.generate.prompts[static_cast<size_t>(prompt)]},
      .steps = 2,
      .with = {{"z-sampling", {{"guidance_forward", 4.0}, {"guidance_inverse", 0.0}, {"stop", 0.5}}}},
      .seed = static_cast<uint64_t>(shard.at("seed")[0].item<int64_t>()),
      .observer = &refined,
      .decode = false};
  const at::Tensor reflected_end = pipeline.generate(again).sample.latents;
  again.observer = nullptr;
  again.with.clear();
  const at::Tensor plain_end = pipeline.generate(again).sample.latents;
  CHECK(at::allclose(shard.at("reflected")[0], refined.x[0], 1e-5, 1e-5));
  CHECK_FALSE(at::allclose(shard.at("reflected")[0], shard.at("noise")[0], 1e-2, 1e-2));
  const LatentScorer scorer = latent_scorer(pipeline.bundle(), "scorer");
  const Prompt words = pipeline.encode(pipeline.resolve(again), again, again.prompts.front());
  CHECK(scores[0][0].item<double>() == Approx(scorer(plain_end, words).item<double>()).margin(1e-4));
  CHECK(scores[0][1].item<double>() == Approx(scorer(reflected_end, words).item<double>()).margin(1e-4));

  CollectRequest strict{.folder = folder / "none", .generate = request.generate};
  strict.generate.prompts = {"crown"};
  const CollectResult none = collect_noise_pairs(pipeline, strict, {.margin = 10.0});
  CHECK(none.kept == 0);
  const TensorMap empty = read_safetensors(strict.folder / "shard-00000.safetensors");
  CHECK(empty.at("noise").sizes() == at::IntArrayRef({0, 4, 16, 16}));
  CHECK(empty.at("candidate_scores").size(0) == 2);
}

TEST_CASE("Noise pairs need a scorer, and a step that can be inverted", "[unit]") {
  const Tiny tiny;
  const CollectRequest request = tiny.request("pairs");
  CHECK_THAT(test::failure([&] { collect_noise_pairs(tiny.pipeline(), request, {}); }),
             Contains("NotFound: noise-pairs: model 'tiny' has no component 'scorer'"));
  const Pipeline pipeline(Bundle::load(test::source_dir() / "models/emoji-flow"));
  CollectRequest one = request;
  one.generate.steps = 1;
  CHECK_THAT(test::failure([&] { collect_noise_pairs(pipeline, one, {}); }),
             Contains("InvalidArgument: steps: expected at least 2"));
  CHECK_THAT(test::failure([&] { collect_noise_pairs(pipeline, request, {.repeats = 0}); }),
             Contains("noise-pairs.repeats: expected a value in [1, 1000], got 0"));
  CHECK_THAT(test::failure([&] { collect_noise_pairs(pipeline, request, {.span = 4}); }),
             Contains("noise-pairs.span: expected fewer than the run's 4 steps"));
  CHECK_FALSE(fs::exists(request.folder));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
