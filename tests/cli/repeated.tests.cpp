// glint generate --from: a picture tells how it was made, and is made again to the last bit.
#include <glint/image/image_file.hpp>
#include <glint/image/png.hpp>
#include <glint/io/safetensors.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>

using namespace glint;
using nlohmann::json;
using test::Contains;
using test::Outcome;
using test::Program;

namespace GLINT_TEST_FILE {

void make(const Program& glint, const std::string& arguments) {
  const Outcome run = glint("generate -q " + arguments);
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
}

/// Whether repeating the run of `file` makes the same file.
bool repeats(const Program& glint, const std::string& file) {
  const std::string again = "again" + std::filesystem::path(file).extension().string();
  std::filesystem::remove(glint.folder / again);
  const Outcome run = glint("generate -q --from '" + file + "' -o " + again);
  INFO(file << ": " << run.err);
  CHECK(run.err.empty());
  CHECK(run.exit_code == 0);
  return test::read_bytes(glint.folder / again) == test::read_bytes(glint.folder / file);
}

TEST_CASE("A picture's text repeats it to the last bit, also from the middle of a batch", "[cli]") {
  const Program glint;
  write_safetensors(glint.folder / "a style.safetensors",
                    {{"query.lora_A.weight", at::randn({2, 8})}, {"query.lora_B.weight", at::randn({8, 2})}});
  write_safetensors(glint.folder / "b.safetensors",
                    {{"query.lora_A.weight", at::randn({1, 8})}, {"query.lora_B.weight", at::randn({8, 1})}});
  make(glint, "'red star' -m tiny -o plain.png");
  make(glint,
       "'red star' 'blue \"circle\"' green -m tiny --count 3 --batch 4 --seed 18446744073709551610 -o p.png");
  make(glint,
       "'red star' -m tiny --with z-sampling:guidance_inverse=1 --with rescale:phi=0.5 --lora 'a "
       "style.safetensors:0.5' "
       "--lora b.safetensors --enlarge 3 --steps 4 --negative blue --guidance 2.5 --width 24 --vae-tile 8 "
       "--schedule :shift=2 --pack off -o all.png");
  make(glint, "'red star' -m tiny --enlarge 2 -o still.webp");
  CHECK(repeats(glint, "plain.png"));
  for (const char* name : {"p-1.png", "p-4.png", "p-5.png", "p-9.png"}) CHECK(repeats(glint, name));
  CHECK(repeats(glint, "all.png"));
  CHECK(repeats(glint, "still.webp"));

  PngTexts texts;
  read_png(glint.folder / "all.png", &texts);
  const json request = json::parse(texts.at("request"));
  CHECK(request["with"] == json({"z-sampling:guidance_inverse=1", "rescale:phi=0.5"}));
  CHECK(request["lora"][0]["given"] == "a style.safetensors:0.5");
  CHECK(request["enlarge"] == 3);
  CHECK(request["pack"] == false);
  CHECK(texts.at("enlarge") == "3");
  // What is stored is the batch and nothing of the others.
  read_png(glint.folder / "p-9.png", &texts);
  CHECK(json::parse(texts.at("request"))["prompts"] == json({"green"}));

  // Outputs may differ from the first run's.
  const Outcome more = glint("generate --from p-5.png -o q.png --latents-out l.safetensors --json -q");
  INFO(more.err);
  REQUIRE(more.exit_code == 0);
  CHECK(json::parse(more.out)["images"] == json({"q.png"}));
  CHECK(read_safetensors(glint.folder / "l.safetensors").at("latents").size(0) == 1);
}

TEST_CASE("Runs from files are repeated, if the files are still the same", "[cli]") {
  const Program glint;
  write_safetensors(glint.folder / "noise.safetensors", {{"noise", at::randn({3, 4, 8, 8})}});
  write_safetensors(glint.folder / "cond.safetensors", {{"tokens", at::randn({8, 16})},
                                                        {"pooled", at::randn({8})},
                                                        {"null_tokens", at::randn({8, 16})},
                                                        {"null_pooled", at::randn({8})}});
  make(glint, "-m tiny --cond-in cond.safetensors --noise-in noise.safetensors -o n.png");
  CHECK(repeats(glint, "n-2.png"));
  const std::string whole = test::read_bytes(glint.folder / "noise.safetensors");
  write_safetensors(glint.folder / "noise.safetensors", {{"noise", at::randn({3, 4, 8, 8})}});
  CHECK_THAT(glint("generate -q --from n-2.png -o x.png").err,
             Contains("noise.safetensors is not the one that the picture was made with"));
  std::filesystem::remove(glint.folder / "noise.safetensors");
  CHECK_THAT(glint("generate -q --from n-2.png -o x.png").err,
             Contains("noise.safetensors, which is not there"));
  test::write_bytes(glint.folder / "noise.safetensors", whole);

  json other = Program::manifest();
  other["default_steps"] = 5;
  test::write_bundle(glint.folder / "moved", Program::manifest());
  test::write_bytes(glint.folder / "tiny/model.json", other.dump());
  CHECK_THAT(glint("generate -q --from n-2.png -o x.png").err,
             Contains("model 'tiny' is not the one that the picture was made with"));
  CHECK(glint("generate -q --from n-2.png -m moved -o x.png").exit_code == 0);
  CHECK(read_png(glint.folder / "x.png") == read_png(glint.folder / "n-2.png"));
}

TEST_CASE("Runs repeat exactly, also in parts; other batches and threads differ by rounding", "[cli]") {
  const Program glint;
  std::filesystem::create_directory_symlink(test::source_dir() / "models", glint.folder / "models");
  const auto latents = [&](const std::string& arguments) {
    const Outcome run = glint(
        "generate 'red apple' -m models/emoji-flow --steps 4 -q --trust code -o x.png --latents-out "
        "l.safetensors " +
        arguments);
    INFO(run.err);
    REQUIRE(run.exit_code == 0);
    return read_safetensors(glint.folder / "l.safetensors").at("latents").clone();
  };
  const at::Tensor whole = latents("--count 4 --batch 2 --threads 1");
  CHECK(at::equal(latents("--count 4 --batch 2 --threads 1"), whole));
  CHECK(at::equal(latents("--count 2 --batch 2 --seed 2 --threads 1"), whole.narrow(0, 2, 2)));
  const double alone = latents("--count 4 --batch 1 --threads 1").sub(whole).abs().max().item<double>();
  const double threads = latents("--count 4 --batch 2 --threads 2").sub(whole).abs().max().item<double>();
  if (std::getenv("GLINT_TEST_REPORT"))
    std::printf("batch 1 against 2: %.2g, threads 1 against 2: %.2g\n", alone, threads);
  // Some float32 roundings of values of about 1, through 4 steps of the network.
  CHECK(alone < 1e-4);
  CHECK(threads < 1e-4);
}

TEST_CASE("What cannot be repeated is refused by name", "[cli]") {
  const Program glint;
  make(glint, "'red star' -m tiny -o a.png");
  PngTexts texts;
  const Image image = read_png(glint.folder / "a.png", &texts);
  const auto refusal = [&](const std::string& arguments) {
    const Outcome run = glint("generate -q -o x.png --from " + arguments);
    CHECK(run.exit_code != 0);
    CHECK_FALSE(glint.exists("x.png"));
    return run.err;
  };
  CHECK_THAT(refusal("none.png"), Contains("none.png: cannot be read"));
  CHECK_THAT(refusal("tiny/model.json"), Contains("model.json: not a PNG file"));
  CHECK_THAT(refusal("a.png --steps 5"), Contains("--steps excludes --from"));
  CHECK_THAT(refusal("a.png blue"), Contains("prompt excludes --from"));
  const auto with_request = [&](const std::string& text) {
    PngTexts changed = texts;
    changed["request"] = text;
    write_png(glint.folder / "b.png", image, changed);
  };
  write_png(glint.folder / "b.png", image);
  CHECK_THAT(refusal("b.png"),
             Contains("expected a picture of 'glint generate', which has a text 'request'"));
  for (const char* text : {"", "{", "[]", "{\"format\": 2}"}) {
    with_request(text);
    CHECK_THAT(refusal("b.png"), Contains("is of no format that glint"));
  }
  for (const auto& [field, value] : {std::pair<const char*, json>{"seed", "x"},
                                     {"with", 3},
                                     {"lora", json::array({1})},
                                     {"picture", 7},
                                     {"limit", 0},
                                     {"steps", "many"},
                                     {"prompts", json::array()},
                                     {"batch", -1},
                                     {"threads", 1 << 30}}) {
    json changed = json::parse(texts.at("request"));
    changed[field] = value;
    with_request(changed.dump());
    CAPTURE(field);
    CHECK_THAT(refusal("b.png"), Contains("--from: b.png: its 'request'"));
  }
}

TEST_CASE("A video is repeated from its animation or from any of its frames", "[cli]") {
  const Program glint;
  std::filesystem::create_directory_symlink(test::data("families/wan"), glint.folder / "wan");
  write_safetensors(glint.folder / "cond.safetensors",
                    {{"tokens", at::randn({7, 32})}, {"null_tokens", at::randn({7, 32})}});
  const std::string video =
      "-m wan --cond-in cond.safetensors --steps 1 --width 48 --height 32 --frames 5 --fps 10 ";
  make(glint, video + "-o clip.webp");
  CHECK(repeats(glint, "clip.webp"));
  make(glint, video + "-o frames/");
  make(glint, "--from frames/frame_0003.png -o more/");
  CHECK(test::read_bytes(glint.folder / "more/frame_0005.png") ==
        test::read_bytes(glint.folder / "frames/frame_0005.png"));

  // A shorter video would leave frames of the longer one between its own.
  const Outcome mixed = glint(
      "generate -q -m wan --cond-in cond.safetensors --steps 1 --width 48 --height 32 --frames 1 -o frames/");
  CHECK(mixed.exit_code == 2);
  CHECK_THAT(mixed.err, Contains("of another video, this one has 1"));
  const Outcome numbered = glint(
      "generate -q -m wan --cond-in cond.safetensors --steps 1 --width 48 --height 32 --frames 1 -o "
      "frames/frame_%04d.png");
  CHECK(numbered.exit_code == 2);
}

}  // namespace GLINT_TEST_FILE
