// glint collect, run as a user runs it; and what its data was made for, on the bundled model.
#include <glint/collect/trajectories.hpp>
#include <glint/image/png.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/pipeline/pipeline.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/program.hpp"

#include <ATen/ops/equal.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace glint;
using nlohmann::json;
using test::Contains;
using test::Outcome;

namespace GLINT_TEST_FILE {

/// With a prompt file and the bundled model.
struct Program : test::Program {
  Program() {
    std::filesystem::create_directory_symlink(test::source_dir() / "models/emoji-flow",
                                              folder / "emoji-flow");
    test::write_bytes(folder / "prompts.txt", "red star\r\n\nblue circle\n");
  }

  /// Every file of a folder, by name.
  std::map<std::string, std::string> content(const std::string& name) const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder / name))
      files[entry.path().filename().string()] = test::read_bytes(entry.path());
    return files;
  }
};

TEST_CASE("Collect trajectories takes prompts from a file and says what it did", "[cli]") {
  const Program glint;
  const Outcome run = glint("collect trajectories --prompts prompts.txt -m tiny -o t --count 2 --shard 3");
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK(run.out == "t: 4 of 4 items kept in 2 shards\n");
  CHECK_THAT(run.err, Contains("4/4 items"));
  CHECK(json::parse(test::read_bytes(glint.folder / "t/prompts.json")) == json({"red star", "blue circle"}));
  CHECK(read_safetensors(glint.folder / "t/shard-00001.safetensors").at("latents").sizes() ==
        at::IntArrayRef({1, 3, 4, 8, 8}));

  const Outcome again =
      glint("collect trajectories --prompts prompts.txt -m tiny -o t --count 2 --shard 3 --json -q");
  REQUIRE(again.exit_code == 0);
  const json report = json::parse(again.out);
  CHECK(report["resumed_items"] == 4);
  CHECK(report["rows"] == 0);
  CHECK_THAT(glint("collect trajectories 'red zeppelin' -m tiny -o z").err,
             Contains("does not know: zeppelin"));
}

TEST_CASE("What a collection changes about its prompts is recorded, and another is refused", "[cli]") {
  const Program glint;
  const std::string collect = "collect trajectories fox -m '" +
                              (test::source_dir() / "tests/data/families/sdxl").string() +
                              "' --steps 2 --width 32 --height 32 -q -o s ";
  const Outcome run = glint(collect + "--clip-skip 1 --prompt-2 'a red fox'");
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  const json options = json::parse(test::read_bytes(glint.folder / "s/collection.json"))["options"];
  CHECK(options["text"] == json({{"clip_skip", "1"}, {"prompt_2", "a red fox"}}));
  CHECK(glint(collect + "--clip-skip 1 --prompt-2 'a red fox'").exit_code == 0);
  for (const char* other : {"--clip-skip 0 --prompt-2 'a red fox'", "--clip-skip 1", ""}) {
    const Outcome refused = glint(collect + other);
    CHECK(refused.exit_code == 2);
    CHECK_THAT(refused.err, Contains("s holds another collection: its options.text"));
  }
  // The prompts change what is collected.
  REQUIRE(glint("collect trajectories fox -m '" + (test::source_dir() / "tests/data/families/sdxl").string() +
                "' --steps 2 --width 32 --height 32 -q -o plain")
              .exit_code == 0);
  const auto tokens = [&](const char* name) {
    return read_safetensors(glint.folder / name / "shard-00000.safetensors").at("tokens");
  };
  CHECK_FALSE(at::equal(tokens("s"), tokens("plain")));
}

TEST_CASE("A collection that is killed or interrupted ends in the files of one that was not", "[cli]") {
  const Program glint;
  const std::string collect =
      "collect trajectories --prompts prompts.txt -m tiny --steps 50 --count 256 --shard 16 -q -o ";
  REQUIRE(glint(collect + "whole").exit_code == 0);
  // Killed as soon as some shards are there, then interrupted, then left alone.
  const auto stopped = [&](const char* shard, const char* signal) {
    return glint(fmt::format("{}parts & while [ ! -e parts/{} ]; do sleep 0.01; done; kill -{} $!; wait $!",
                             collect, shard, signal));
  };
  Outcome run = stopped("shard-00003.safetensors", "KILL");
  CHECK(run.exit_code == 128 + 9);
  CHECK(json::parse(test::read_bytes(glint.folder / "parts/collection.json"))["complete"] == false);
  // Not INT, which a shell has its background commands ignore.
  run = stopped("shard-00008.safetensors", "TERM");
  CHECK(run.exit_code == 128 + 15);
  CHECK_THAT(run.err, Contains("the same command continues where this one stopped"));
  run = glint(collect + "parts --json");
  REQUIRE(run.exit_code == 0);
  const json report = json::parse(run.out);
  CHECK(report["resumed_items"].get<int>() >= 8 * 16);
  CHECK(report["resumed_items"].get<int>() < 512);
  CHECK(glint.content("parts") == glint.content("whole"));
}

TEST_CASE("A collection killed at any write goes on to the files of one that was not", "[cli]") {
  const Program glint;
  const std::string collect = "collect trajectories --prompts prompts.txt -m tiny --steps 1 --shard 1 -q -o ";
  REQUIRE(glint(collect + "whole").exit_code == 0);
  const Pipeline pipeline(Bundle::load(glint.folder / "tiny"));
  for (const std::string call : {"write", "rename"}) {
    int killed = 0;
    while (true) {
      const std::string name = fmt::format("{}-{}", call, killed + 1);
      const Outcome run =
          glint.shell(fmt::format("LD_PRELOAD=$SHIM FAULT={}:{}:kill{} $GLINT {}", call, killed + 1,
                                  call == "write" ? ":.glint-" : "", collect + name));
      CAPTURE(name, run.err);
      if (run.exit_code == 0) break;
      REQUIRE(run.exit_code == 128 + 9);
      ++killed;
      collect_trajectories(pipeline, {.folder = glint.folder / name,
                                      .generate = {.prompts = {"red star", "blue circle"}, .steps = 1},
                                      .shard = 1});
      CHECK(glint.content(name) == glint.content("whole"));
    }
    CHECK(killed >= 6);  // the prompts, two shards, and the manifest before, between and after them
  }
}

TEST_CASE("Processes that share a collection end in the files of one, also if one is killed", "[cli]") {
  const Program glint;
  const std::string collect =
      "collect trajectories --prompts prompts.txt -m tiny --steps 2 --count 10 --batch 2 --shard 4 ";
  REQUIRE(glint(collect + "-q -o whole").exit_code == 0);
  const Outcome both = glint.shared(collect + "-o two");
  INFO(both.err);
  CHECK(both.exit_code == 0);
  CHECK_THAT(both.out, Contains("two: 8 of 8 items kept in 2 shards, process 2 of 2\n"));
  CHECK_THAT(both.out, Contains("two: 20 of 20 items kept in 5 shards\n"));
  CHECK(glint.content("two") == glint.content("whole"));

  // Rank 1 is killed while it writes its second shard; rank 0 waits for it no longer than it is told.
  const Outcome killed =
      glint.shared(collect + "-q --patience 1 -o left", "LD_PRELOAD=$SHIM FAULT=rename:2:kill:shard-");
  CHECK(killed.exit_code == 1);
  CHECK_THAT(killed.err, Contains("1 of 5 shards are missing and no other process is collecting them"));
  const Outcome rest = glint(collect + "-q --json -o left");
  INFO(rest.err);
  REQUIRE(rest.exit_code == 0);
  CHECK(json::parse(rest.out)["resumed_items"] == 16);
  CHECK(glint.content("left") == glint.content("whole"));
}

TEST_CASE("Collect noise-pairs keeps what the scorer prefers", "[cli]") {
  const Program glint;
  const Outcome run = glint(
      "collect noise-pairs 'red apple' 'a red star left of a key' -o p --steps 2 --count 2 "
      "--guidance-inverse 0 --json -q");
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  const json report = json::parse(run.out);
  CHECK(report["items"] == 4);
  CHECK(report["rows"] == 4 * (3 + 2 * 2 * 2));
  const TensorMap shard = read_safetensors(glint.folder / "p/shard-00000.safetensors");
  CHECK(shard.at("noise").size(0) == report["kept"].get<int64_t>());
  const json options = json::parse(test::read_bytes(glint.folder / "p/collection.json"))["options"];
  CHECK(options["guidance_inverse"] == 0.0);
  CHECK(options["evaluation"] == "destination");
  CHECK_THAT(glint("collect noise-pairs --help").out,
             Contains("--guidance-inverse") && Contains("--margin") && Contains("--shard"));
}

TEST_CASE("Collect says what is wrong", "[cli]") {
  const Program glint;
  test::write_bytes(glint.folder / "empty.txt", "\n  \n");
  REQUIRE(glint("collect trajectories x -m tiny -o made -q").exit_code == 0);
  const std::tuple<const char*, int, const char*> cases[] = {
      {"collect", 2, "subcommand"},
      {"collect trajectory x -o t", 2, "unknown command 'trajectory'; did you mean 'trajectories'?"},
      {"collect trajectories x -m tiny", 2, "--output"},
      {"collect trajectories -m tiny -o t", 2, "prompts: expected at least one, got none"},
      {"collect trajectories --prompts empty.txt -m tiny -o t", 2,
       "empty.txt: expected prompts, one per line"},
      {"collect trajectories --prompts absent.txt -m tiny -o t", 1, "absent.txt: cannot be read"},
      {"collect trajectories --prompts tiny -m tiny -o t", 1, "tiny: cannot be read"},
      {"collect trajectories x -m tiny -o /proc/none/t", 2, "cannot be made"},
      {"collect trajectories x -m tiny -o tiny", 2, "holds something else"},
      {"collect trajectories x -m tiny -o made --guidance 7", 2,
       "its options.guidance is 3.0, this run's is 7.0"},
      {"collect noise-pairs x -m tiny -o made", 1, "has no component 'scorer'"},
      {"collect noise-pairs x -o made", 2, "its kind is \"trajectories\", this run's is \"noise-pairs\""},
      {"collect noise-pairs x -o t --guidance-inverze 1", 2, "did you mean '--guidance-inverse'?"},
      {"collect noise-pairs x -o t --evaluation sourc", 2, "did you mean 'source'?"},
      {"collect trajectories x -m tiny -o t --stored float8", 2, "float8"},
      {"collect trajectories x -m tiny -o t --shard 0", 2, "shard: expected at least 1, got 0"},
      {"collect trajectories x -m tiny -o t --steps 0", 2, "steps: expected 1 to 1000, got 0"},
  };
  for (const auto& [arguments, code, message] : cases) {
    CAPTURE(arguments);
    const Outcome run = glint(arguments);
    CHECK(run.exit_code == code);
    CHECK_THAT(run.err, Contains(message));
    CHECK_FALSE(std::filesystem::exists(glint.folder / "t"));
  }
}

TEST_CASE("The bundled model has CoRe2's weak network and a golden-noise network", "[cli]") {
  const Program glint;
  const Outcome core2 = glint("generate 'red apple' --with core2 --steps 8 -q --json -o core2.png");
  INFO(core2.err);
  REQUIRE(core2.exit_code == 0);
  CHECK(json::parse(core2.out)["rows"] == 8);  // half of guidance's
  // At pure noise, where guidance is strongest: one step of it is imitated to half the distance of the prompt
  // alone. (Measured over held-out prompts: to a ninth; below a time of 0.7 little, see the model's README.)
  const auto ends = [&](const std::string& options) {
    REQUIRE(glint("generate 'red apple' crown umbrella --steps 1 -q -o x.png --latents-out l.safetensors " +
                  options)
                .exit_code == 0);
    return read_safetensors(glint.folder / "l.safetensors").at("latents");
  };
  const at::Tensor guided = ends("");
  const double imitated = ends("--with core2").sub(guided).norm().item<double>();
  const double plain = ends("--guidance 1").sub(guided).norm().item<double>();
  CHECK(imitated < 0.5 * plain);

  REQUIRE(glint("generate 'red apple' --steps 8 -q -o cfg.png").exit_code == 0);
  const Outcome golden = glint("generate 'red apple' --with golden-noise --steps 8 -q --json -o g.png");
  INFO(golden.err);
  REQUIRE(golden.exit_code == 0);
  const json report = json::parse(golden.out);
  CHECK(report["rows"] == 16);  // as without it
  const double deviation = report["strategies"]["golden-noise"]["deviation"][0].get<double>();
  CHECK(deviation > 0.8);
  CHECK(deviation < 1.3);
  CHECK(read_png(glint.folder / "g.png") != read_png(glint.folder / "cfg.png"));
}

}  // namespace GLINT_TEST_FILE
