// The glint program, run as a user runs it: what it writes, what it says, how it exits.
#include <glint/image/png.hpp>
#include <glint/io/safetensors.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <sstream>
#include <thread>

using namespace glint;
using nlohmann::json;
using test::Contains;
using test::Outcome;
using test::Program;

TEST_CASE("Generate writes a picture and says where", "[cli]") {
  const Program glint;
  const Outcome run = glint("generate 'red star' -m tiny -o star.png");
  CHECK(run.exit_code == 0);
  CHECK(run.out == "star.png\n");
  CHECK_THAT(run.err, Contains("step 3/3"));
  PngTexts texts;
  const Image image = read_png(glint.folder / "star.png", &texts);
  CHECK(image.width == 16);
  CHECK(image.height == 16);
  CHECK(texts.at("prompt") == "red star");
  CHECK(texts.at("seed") == "0");
  CHECK(texts.at("model") == "tiny");
  CHECK(texts.at("solver") == "flow-euler");
  CHECK(texts.at("guidance") == "3");
}

TEST_CASE("OpenMP threads sleep while they wait, unless told otherwise, and libraries start once", "[cli]") {
  const Program glint;
  const auto policies = [&](const std::string& variables) {
    const std::string shown =
        glint.shell("env " + variables + " \"$GLINT\" generate 'red star' -m tiny -o star.png").err;
    std::vector<std::string> found;
    for (size_t at = 0; (at = shown.find("OMP_WAIT_POLICY = '", at)) != std::string::npos; at += 19)
      found.push_back(shown.substr(at + 19, shown.find('\'', at + 19) - at - 19));
    return found;
  };
  CHECK(policies("OMP_DISPLAY_ENV=true") == std::vector<std::string>{"PASSIVE"});
  CHECK(policies("OMP_DISPLAY_ENV=true OMP_WAIT_POLICY=active") == std::vector<std::string>{"ACTIVE"});
}

TEST_CASE("A bundle that another torch made is warned about, unless nothing is to be said", "[cli]") {
  const Program glint;
  json manifest = Program::manifest();
  manifest["torch"] = "2.1.0";
  test::write_bytes(glint.folder / "tiny" / "model.json", manifest.dump());
  const Outcome told = glint("generate 'red star' -m tiny -o star.png");
  CHECK(told.exit_code == 0);
  CHECK_THAT(told.err, Contains("model 'tiny' was made with torch 2.1.0 and is loaded with torch "));
  CHECK(glint("generate 'red star' -m tiny -o star.png --quiet").err.empty());
}

TEST_CASE("Generate --json reports what was done and what it cost", "[cli]") {
  const Program glint;
  const Outcome run = glint(
      "generate 'red star' -m tiny --count 2 --seed 010 --steps 4 --quiet --json "
      "--with z-sampling:guidance_inverse=1");
  REQUIRE(run.exit_code == 0);
  CHECK(run.err.empty());
  const json report = json::parse(run.out);
  CHECK(report["images"] == json({"glint-1.png", "glint-2.png"}));
  CHECK(report["seed"] == 10);  // digits are decimal, whatever they begin with
  CHECK(report["steps"] == 4);
  CHECK(report["solver"] == "flow-euler");
  // Two samples: 4 guided steps of 2 rows, and 3 reflections of 2 + 1 rows.
  CHECK(report["rows"] == 2 * (4 * 2 + 3 * 3));
  CHECK(report["calls"] == 4 + 3 * 2);
  CHECK(report["strategies"]["z-sampling"]["rows"] == 2 * 3 * 3);
  CHECK(report["effective_guidance_scale"].is_null());
  CHECK(report["peak_memory_bytes"] > 1 << 20);
  for (const char* stage : {"load", "encode", "noise", "sample", "decode", "total"})
    CHECK(report["seconds"][stage].get<double>() >= 0.0);
  CHECK(report["versions"].contains("torch"));
}

TEST_CASE("The same seed gives the same picture, whatever the batch", "[cli]") {
  const Program glint;
  REQUIRE(glint("generate 'red star' -m tiny --count 3 --seed 5 --batch 3 -q -o a.png").exit_code == 0);
  REQUIRE(glint("generate 'red star' -m tiny --count 3 --seed 5 --batch 2 -q -o b.png").exit_code == 0);
  REQUIRE(glint("generate 'red star' -m tiny --seed 7 -q -o c.png").exit_code == 0);
  for (const char* index : {"1", "2", "3"})
    CHECK(read_png(glint.folder / ("a-" + std::string(index) + ".png")) ==
          read_png(glint.folder / ("b-" + std::string(index) + ".png")));
  CHECK(read_png(glint.folder / "a-3.png") == read_png(glint.folder / "c.png"));
}

TEST_CASE("Tensors go in and out as safetensors", "[cli]") {
  const Program glint;
  write_safetensors(glint.folder / "noise.safetensors", {{"noise", at::randn({2, 4, 8, 8})}});
  write_safetensors(glint.folder / "cond.safetensors", {{"tokens", at::randn({8, 16})},
                                                        {"pooled", at::randn({8})},
                                                        {"null_tokens", at::randn({8, 16})},
                                                        {"null_pooled", at::randn({8})}});
  const Outcome run = glint(
      "generate -m tiny --cond-in cond.safetensors --noise-in noise.safetensors --steps 3 -q "
      "--latents-out l.safetensors --trajectory-out t.safetensors -o x.png --sheet sheet.png");
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  const at::Tensor latents = read_safetensors(glint.folder / "l.safetensors").at("latents");
  const at::Tensor trajectory = read_safetensors(glint.folder / "t.safetensors").at("trajectory");
  CHECK(latents.sizes() == at::IntArrayRef({2, 4, 8, 8}));
  CHECK(trajectory.sizes() == at::IntArrayRef({4, 2, 4, 8, 8}));
  CHECK(at::equal(trajectory[3], latents));
  CHECK(at::equal(trajectory[0], read_safetensors(glint.folder / "noise.safetensors").at("noise")));
  CHECK(glint.exists("x-2.png"));
  CHECK(read_png(glint.folder / "sheet.png").width == 2 * 16 + 4);
}

TEST_CASE("A model without text encoder and decoder takes a conditioning and gives latents", "[cli]") {
  const Program glint;
  json m = Program::manifest();
  m["family"] = "tensor";
  for (const char* part : {"text_encoder", "tokenizer", "vae_decoder"}) m["components"].erase(part);
  test::write_bundle(glint.folder / "bare", m);
  write_safetensors(glint.folder / "cond.safetensors",
                    {{"tokens", at::randn({8, 16})}, {"pooled", at::randn({8})}});
  const Outcome run =
      glint("generate -m bare --cond-in cond.safetensors --guidance 1 --latents-out l.safetensors -q");
  INFO(run.err);
  CHECK(run.exit_code == 0);
  CHECK_THAT(glint("generate -m bare --cond-in cond.safetensors").err,
             Contains("has no decoder: give --latents-out"));
  CHECK_THAT(glint("generate 'red star' -m bare --latents-out l.safetensors").err,
             Contains("has no text encoder"));
  // Guidance needs the null conditioning, which this file lacks.
  const Outcome no_uncond =
      glint("generate -m bare --cond-in cond.safetensors --guidance 2 --latents-out l.safetensors");
  CHECK(no_uncond.exit_code != 0);
  CHECK_THAT(no_uncond.err, Contains("null_tokens"));
}

TEST_CASE("A log that cannot be written loses no picture", "[cli]") {
  const Program glint;
  CHECK(glint("generate 'red star' -m tiny -o a.png 2>/dev/full").exit_code == 0);
  CHECK(glint.exists("a.png"));
  CHECK(glint("collect trajectories 'red star' -m tiny -o c 2>/dev/full").exit_code == 0);
  CHECK(glint.exists("c/shard-00000.safetensors"));
}

TEST_CASE("Bad usage exits with 2 and names the nearest match", "[cli]") {
  const Program glint;
  const std::pair<const char*, const char*> cases[] = {
      {"generte x", "unknown command 'generte'; did you mean 'generate'?"},
      {"generate x --stesp 4", "unknown argument '--stesp'; did you mean '--steps'?"},
      {"generate x -m tiny --solver flow-eule", "unknown solver 'flow-eule'; did you mean 'flow-euler'?"},
      {"generate x -m tiny --solver z-sampling", "'z-sampling' is a step strategy, not a solver"},
      {"generate x -m tiny --with z-sampling:guidance_inverze=0",
       "unknown option 'guidance_inverze'; did you mean 'guidance_inverse'?"},
      {"generate x -m tiny --with z-sampling:merge=lots", "z-sampling.merge: expected a number, got 'lots'"},
      {"generate x -m tiny --with z-sampling:start=1.5",
       "z-sampling.start: expected a value in [0, 1], got 1.5"},
      {"generate x -m tiny --with z-sampling:evaluation=sourc", "did you mean 'source'?"},
      {"generate x -m tiny --with z-sampling:merge", "expected key=value, got 'merge'"},
      {"generate x -m tiny --with cgf", "unknown method 'cgf'; did you mean 'cfg'?"},
      {"generate x -m tiny --with nothing", "unknown method 'nothing'"},
      {"generate x -m tiny --schedule karas", "unknown schedule 'karas'; did you mean 'karras'?"},
      {"generate x -m tiny --schedule sigmas=0.5+0.9",
       "sigmas: expected falling values, but 0.9 follows 0.5"},
      {"generate x -m tiny --steps 3 --schedule sigmas=0.5",
       "sigmas: expected one level per step (3), got 1"},
      {"generate x -m tiny --with easy-cache --with spectrum", "with: expected one cache at most, got two"},
      {"generate x -m tiny --schedule default:rhoo=3", "unknown option 'rhoo'; did you mean 'rho'?"},
      {"generate x -m tiny --steps 0", "steps: expected 1 to 1000, got 0"},
      {"generate x -m tiny --steps -3", "steps: expected 1 to 1000, got -3"},
      {"generate x -m tiny --steps many", "--steps: expected an integer, got 'many'"},
      {"generate x -m tiny --guidance two", "--guidance: expected a number, got 'two'"},
      {"generate x -m tiny --width -8", "width: expected a positive multiple of 2, got -8"},
      {"generate x -m tiny --height 9", "height: expected a positive multiple of 2, got 9"},
      {"generate x -m tiny --frames 5", "frames: model 'tiny' makes pictures, not videos"},
      {"generate x -m tiny --count 0", "count: expected at least 1, got 0"},
      {"generate x -m tiny --solver lcm:eta=1", "lcm: unknown option 'eta'"},
      {"generate -m tiny", "prompt: expected one, got none"},
      {"generate \"$(printf 'red \\377')\" -m tiny", "UTF-8"},
      {"generate x -m tiny --enlarge 0", "enlarge"},
      {"generate x -m tiny -o tiny", "tiny: cannot be written"},
      {"generate x -m tiny --device warp", "warp"},
      {"generate x -m tiny --seed -1", "--seed: expected an integer of at least 0, got '-1'"},
      {"generate x -m tiny --seed 99999999999999999999",
       "expected an integer of at least 0 up to 18446744073709551615, got '99999999999999999999'"},
      {"generate x -m tiny --steps 2147483648",
       "--steps: expected an integer up to 2147483647, got '2147483648'"},
      {"generate x -m tiny --count 2 -o /dev/null", "/dev/null: not a regular file, so it takes one picture"},
      {"generate x -m tiny --count 2 -o a.png --sheet a-1.png", "a-1.png: given for two outputs"},
      {"generate x -m tiny --count 2000000000 -o a.png --latents-out ./a-7.safetensors --sheet "
       "a-1999999999.png",
       "a-1999999999.png: given for two outputs"},
      {"generate x -m tiny --schedule karras:sigmas=exponential", "'karras' says what sigmas is"},
      {"generate x -m tiny --threads 0", "threads"},
      {"generate x -m tiny --threads two", "--threads: expected an integer, got 'two'"},
      {"generate x -m tiny -o a.jpg", "a.jpg: expected a .png or .webp file"},
      {"generate x -m tiny -o a.png --sheet ./a.png", "given for two outputs"},
      {"generate x -m tiny --guidance 2 --with cfg:scale=3", "is given a scale of its own"},
      {"generate x -m tiny --schedule trailing", "schedule.spacing: does not apply to a flow model"},
      {"list nonsense", "nonsense"},
  };
  for (const auto& [arguments, message] : cases) {
    CAPTURE(arguments);
    const Outcome run = glint(arguments);
    CHECK(run.exit_code == 2);
    CHECK_THAT(run.err, Contains(message));
    CHECK(run.out.empty());
  }
}

TEST_CASE("What cannot be found or trusted exits with 1 and says what to do", "[cli]") {
  const Program glint;
  CHECK_THAT(glint("generate x -m tinny").err, Contains("did you mean 'tiny'?"));
  CHECK(glint("generate x -m tinny").exit_code == 1);
  CHECK_THAT(glint("generate x -m tiny -o no/where.png").err, Contains("there is no folder"));
  CHECK_THAT(glint("generate x -m tiny --noise-in none.safetensors").err, Contains("none.safetensors"));

  write_safetensors(glint.folder / "wrong.safetensors", {{"noise", at::randn({1, 3, 8, 8})}});
  CHECK_THAT(glint("generate x -m tiny --noise-in wrong.safetensors").err,
             Contains("noise: expected [B,4,H,W] with B >= 1, got [1,3,8,8]"));
  const std::string whole = test::read_bytes(glint.folder / "wrong.safetensors");
  test::write_bytes(glint.folder / "cut.safetensors", whole.substr(0, whole.size() - 4));
  const Outcome cut = glint("generate x -m tiny --noise-in cut.safetensors");
  CHECK(cut.exit_code == 1);
  CHECK_THAT(cut.err, Contains("cut.safetensors"));
  write_safetensors(glint.folder / "nan.safetensors", {{"noise", at::full({1, 4, 8, 8}, std::nan(""))}});
  CHECK_THAT(glint("generate x -m tiny --noise-in nan.safetensors").err, Contains("NaN"));
  write_safetensors(glint.folder / "int.safetensors", {{"noise", at::full({1, 4, 8, 8}, 1, at::kLong)}});
  CHECK_THAT(glint("generate x -m tiny --noise-in int.safetensors").err,
             Contains("expected float32 or float64"));

  std::filesystem::copy(glint.folder / "tiny", glint.folder / "damaged");
  std::string bytes = test::read_bytes(glint.folder / "damaged/denoiser.pt");
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  test::write_bytes(glint.folder / "damaged/denoiser.pt", bytes);
  const Outcome damaged = glint("generate x -m damaged");
  CHECK(damaged.exit_code == 1);
  CHECK_THAT(damaged.err, Contains("denoiser.pt") && Contains("SHA-256"));
  CHECK(glint("inspect damaged").exit_code == 1);
  CHECK_THAT(glint("inspect damaged --json").out, Contains("\"differs\""));
  CHECK(glint("inspect tiny").exit_code == 0);
}

TEST_CASE("Outputs go where links and devices point", "[cli]") {
  const Program glint;
  test::write_bytes(glint.folder / "real.png", "");
  std::filesystem::create_symlink("real.png", glint.folder / "link.png");
  REQUIRE(glint("generate 'red star' -m tiny -q -o link.png --latents-out /dev/null").exit_code == 0);
  CHECK(std::filesystem::is_symlink(glint.folder / "link.png"));
  CHECK(read_png(glint.folder / "real.png").width == 16);
  CHECK(std::filesystem::is_character_file("/dev/null"));
}

TEST_CASE("A schedule may list its levels, and a cache says what it spared", "[cli]") {
  const Program glint;
  const auto report = [&](const std::string& options) {
    return json::parse(glint("generate red -m tiny --guidance 3 --json -o run.png " + options).out);
  };
  const json own = report("--schedule sigmas=1+0.6+0.2+0");
  CHECK(own["steps"] == 3);
  CHECK(own["nfe"] == 6);
  const json masked = report("--steps 4 --with step-mask:mask=1101");
  CHECK(masked["nfe"] == 6);
  CHECK(masked["strategies"]["step-mask"]["spared"] == json::array({2.0}));
  CHECK(report("--steps 4 --solver heun")["nfe"] == 2 * (2 * 4 - 1));
}

TEST_CASE("A negative prompt that nothing evaluates is reported", "[cli]") {
  const Program glint;
  const auto warned = [&](const std::string& options) {
    return glint("generate red -m tiny --negative blue -o negative.png " + options).err;
  };
  const char* message = "the negative prompt has no effect: at guidance 1";
  CHECK_THAT(warned("--guidance 1"), Contains(message));
  CHECK_THAT(warned("--guidance 3"), !Contains(message));
  CHECK_THAT(warned("--guidance 1 --with z-sampling:guidance_inverse=0"), !Contains(message));
  CHECK_THAT(warned("--guidance 1 --quiet"), !Contains(message));
}

TEST_CASE("Words the model does not know are reported", "[cli]") {
  const Program glint;
  const Outcome run = glint("generate 'red zeppelin' -m tiny -o x.png");
  CHECK(run.exit_code == 0);
  CHECK_THAT(run.err, Contains("the model does not know: zeppelin"));
  CHECK(glint("generate '' -m tiny -o empty.png").exit_code == 0);  // the empty prompt is the negative prompt
}

TEST_CASE("List shows every entry with options, cost and source, for people and for programs", "[cli]") {
  const Program glint;
  const json all = json::parse(glint("list --json").out);
  CHECK(all.size() >= 11);
  for (const json& entry : all)
    for (const char* key : {"kind", "name", "summary", "options", "cost", "source"})
      CHECK(entry.contains(key));
  const Outcome steps = glint("list step");
  CHECK(steps.exit_code == 0);
  CHECK_THAT(steps.out, Contains("Better pictures (--with)") && Contains("z-sampling") && !Contains("cfgpp"));
  CHECK_THAT(glint("list z-sampling").out, Contains("guidance_inverse=0") && Contains("arXiv:2412.10891") &&
                                               Contains("N G + T S (G(forward) + G(inverse)) rows"));
  const Outcome everything = glint("list");
  for (const char* heading : {"Better pictures", "Fewer or cheaper evaluations", "Solvers", "Models"})
    CHECK_THAT(everything.out, Contains(heading));
  std::istringstream lines(everything.out);
  for (std::string line; std::getline(lines, line);) CHECK(line.size() <= 100);
  CHECK_THAT(glint("list z-samplin").err, Contains("did you mean 'z-sampling'?"));
  CHECK_THAT(glint("list model").out, Contains("tiny"));
  std::filesystem::create_directory(glint.folder / "broken");
  test::write_bytes(glint.folder / "broken/model.json", "{");
  CHECK_THAT(glint("list model").out, Contains("tiny") && Contains("broken"));
  CHECK(glint("list model").exit_code == 0);
}

TEST_CASE("Bare glint and every --help show examples; --version is one line", "[cli]") {
  const Program glint;
  const Outcome version = glint("--version");
  CHECK_THAT(version.out, Catch::StartsWith("glint ") && Contains("(torch "));
  CHECK(std::count(version.out.begin(), version.out.end(), '\n') == 1);
  CHECK(json::parse(glint("--version --json").out).contains("torch"));
  for (const char* arguments :
       {"", "--help", "generate --help", "list --help", "inspect --help", "collect --help"}) {
    const Outcome help = glint(arguments);
    CAPTURE(arguments);
    CHECK(help.exit_code == 0);
    const size_t examples = help.out.find("Examples:");
    REQUIRE(examples != std::string::npos);
    size_t count = 0;
    for (size_t at = examples; (at = help.out.find("\n  glint ", at)) != std::string::npos; ++at) ++count;
    CHECK(count == 3);
  }
}

TEST_CASE("Several prompts are one batch, and each keeps its own seed", "[cli]") {
  const Program glint;
  const Outcome run =
      glint("generate 'red star' 'blue circle' -m tiny --count 2 --seed 7 -q --json -o p.png");
  REQUIRE(run.exit_code == 0);
  const json report = json::parse(run.out);
  CHECK(report["calls"] == report["steps"]);
  CHECK(report["nfe"] == 2 * report["steps"].get<int>());
  CHECK(report["images"].size() == 4);
  PngTexts texts;
  read_png(glint.folder / "p-4.png", &texts);
  CHECK(texts.at("prompt") == "blue circle");
  CHECK(texts.at("seed") == "8");
}

TEST_CASE("Attention policies are chosen, refused and inspected by name", "[cli]") {
  const Program glint;
  const std::string generate = "generate 'red circle' --model tiny --seed 3 --quiet --latents-out ";
  CHECK(glint(generate + "plain.safetensors -o plain.png").exit_code == 0);
  CHECK(glint(generate + "dense.safetensors -o dense.png --with dense").exit_code == 0);
  CHECK(glint(generate + "pisa.safetensors -o pisa.png --with "
                         "pisa:first_dense_layers=0,min_tokens=4,block_size=4,density=0.2")
            .exit_code == 0);
  const auto latents = [&](const char* file) { return read_safetensors(glint.folder / file).at("latents"); };
  CHECK(at::equal(latents("dense.safetensors"), latents("plain.safetensors")));
  CHECK_FALSE(at::equal(latents("pisa.safetensors"), latents("plain.safetensors")));
  PngTexts texts;
  read_png(glint.folder / "pisa.png", &texts);
  CHECK_THAT(texts.at("with"), Contains("pisa:first_dense_layers=0"));

  const auto wrong = glint(generate + "x.safetensors --with pisa:densty=1");
  CHECK(wrong.exit_code == 2);
  CHECK_THAT(wrong.err, Contains("pisa: unknown option 'densty'") && Contains("density"));

  const json attention =
      json::parse(glint("inspect tiny --json --attention pisa:first_dense_layers=0,min_tokens=4,block_size=4,"
                        "order=zeroth,selection=mean")
                      .out)
          .at("attention");
  CAPTURE(attention.dump());
  REQUIRE(attention.at("layers").size() == 1);
  const json layer = attention["layers"][0];
  CHECK(layer["queries"] == 64);  // 8 x 8 latent pixels: its default size, from runs at two others
  CHECK(layer["kind"] == "pisa");
  CHECK(layer["gain_bound"].get<double>() ==
        Approx(1.0 / (0.5 + 0.25 + 0.5 / 16.0)));  // one of two blocks exact
  CHECK_FALSE(json::parse(glint("inspect tiny --json").out).contains("attention"));
}

TEST_CASE("Exported families generate and are inspected like any model", "[cli]") {
  const Program glint;
  const std::string families = test::data("families").string();
  const auto small = [&](const std::string& family) {
    return "generate 'a small golden fox' -m " + families + "/" + family +
           " --height 16 --width 32 --steps 2 -q ";
  };
  for (const char* family : {"sdxl", "sd3", "flux"}) {
    CAPTURE(family);
    const std::string file = std::string(family) + ".png";
    const Outcome run = glint(small(family) + "-o " + file);
    CAPTURE(run.err);
    REQUIRE(run.exit_code == 0);
    const Image image = read_png(glint.folder / file);
    CHECK((image.width == 32 && image.height == 16));
  }
  // SDXL: an empty negative prompt is not the same as none.
  REQUIRE(glint(small("sdxl") + "--negative '' -o empty.png").exit_code == 0);
  CHECK_FALSE(read_png(glint.folder / "empty.png") == read_png(glint.folder / "sdxl.png"));
  PngTexts texts;
  read_png(glint.folder / "sdxl.png", &texts);
  CHECK(texts.at("solver") == "euler");
  CHECK_FALSE(texts.contains("negative"));

  CHECK_THAT(glint("generate x -q -m " + families + "/sdxl --dtype bfloat16").err,
             Contains("was exported to compute in float32, got bfloat16"));
  CHECK_THAT(glint("generate x -q -m " + families + "/sd3 --height 200").err,
             Contains("height: expected at most 96, got 200"));

  for (const char* family : {"sdxl", "sd3", "flux", "wan"}) {
    CAPTURE(family);
    const Outcome run = glint("inspect --json --attention pisa " + families + "/" + family);
    CAPTURE(run.err);
    REQUIRE(run.exit_code == 0);
    const json report = json::parse(run.out);
    CHECK(report["family"] == family);
    CHECK(report["default_solver"].is_string());
    CHECK(report["components"]["tokenizer"]["dtype"].is_null());
    CHECK(report["components"]["denoiser"]["dtype"] == "float32");
    CAPTURE(report["attention"].dump());
    CHECK(report["attention"].contains("layers"));
    CHECK_THAT(glint("inspect " + families + "/" + family).out, Contains("matches model.json"));
  }
  // FLUX at 128 x 128 latents has 64 x 64 image tokens behind 512 of the text.
  const json flux = json::parse(glint("inspect --json --attention pisa " + families + "/flux").out);
  CHECK(flux["attention"]["layers"][0]["queries"] == 64 * 64 + 512);
}

TEST_CASE("Generate takes LoRA files with scales, and says what is wrong with them", "[cli]") {
  const Program glint;
  const auto file = [&](const char* name, const char* layer) {
    write_safetensors(glint.folder / name, {{fmt::format("{}.lora_A.weight", layer), at::full({2, 8}, 0.5)},
                                            {fmt::format("{}.lora_B.weight", layer), at::full({8, 2}, 0.5)}});
  };
  file("style.safetensors", "query");
  file("other.safetensors", "elsewhere");
  const auto latents = [&](const std::string& arguments) {
    const Outcome run =
        glint("generate 'red star' -m tiny -q -o a.png --latents-out a.safetensors " + arguments);
    INFO(run.err);
    REQUIRE(run.exit_code == 0);
    return read_safetensors(glint.folder / "a.safetensors").at("latents").clone();
  };
  const at::Tensor base = latents(""), style = latents("--lora style.safetensors");
  CHECK(at::equal(latents("--lora style.safetensors:0"), base));
  CHECK_FALSE(at::equal(style, base));
  CHECK(at::equal(latents("--lora ./style.safetensors:1"), style));
  CHECK_FALSE(at::equal(latents("--lora style.safetensors:-1.5"), style));
  CHECK_FALSE(at::equal(latents("--lora style.safetensors:0 --with "
                                "w2sd:adapter=style,strong_adapter=1.5,weak_adapter=-1.5"),
                        base));
  // Two files of one name, and PEFT's folder, whose alpha is twice the rank.
  CHECK(at::equal(latents("--lora mine=style.safetensors:1"), style));
  CHECK(at::allclose(latents("--lora style.safetensors:0.5 --lora again=./style.safetensors:0.5"), style,
                     1e-4, 1e-5));
  std::filesystem::create_directory(glint.folder / "trained");
  file("trained/adapter_model.safetensors", "query");
  test::write_bytes(glint.folder / "trained" / "adapter_config.json",
                    R"({"peft_type":"LORA","lora_alpha":4})");
  CHECK(at::equal(latents("--lora trained/:0.5"), style));
  latents("--lora style.safetensors:0.5");
  PngTexts texts;
  read_png(glint.folder / "a.png", &texts);
  CHECK(texts.at("lora") == "style.safetensors:0.5");

  const auto refused = [&](int exit_code, const std::string& arguments) {
    const Outcome run = glint("generate 'red star' -m tiny -o b.png " + arguments);
    CHECK(run.exit_code == exit_code);
    return run.err;
  };
  CHECK_THAT(refused(1, "--lora none.safetensors"),
             Contains("--lora: neither a file nor an adapter of the model: 'none.safetensors'"));
  CHECK_THAT(refused(2, "--lora style.safetensors --lora style.safetensors:0.5"),
             Contains("--lora: 'style' is given twice"));
  CHECK_THAT(refused(2, "--lora other.safetensors"), Contains("no weights for 1 of 1 layers: elsewhere"));
}
