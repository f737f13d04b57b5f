// Where the program's outputs go: nothing that was there before is lost, and what cannot be written is
// refused before sampling.
#include <glint/image/png.hpp>
#include <glint/io/safetensors.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

#include <ATen/ops/randn.h>
#include <sys/stat.h>
#include <nlohmann/json.hpp>

using namespace glint;
using test::Contains;
using test::Outcome;
using test::Program;

namespace GLINT_TEST_FILE {

namespace fs = std::filesystem;

unsigned mode_of(const fs::path& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777u;
}

Image decoded(const std::string& bytes) {
  return decode_png({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

/// Names of unfinished files in a folder.
size_t unfinished(const fs::path& folder) {
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    count += entry.path().filename().string().ends_with(".tmp");
  return count;
}

TEST_CASE("A picture goes to standard output, alone, wherever that leads", "[cli]") {
  const Program glint;
  REQUIRE(glint("generate 'red star' -m tiny -q -o a.png").exit_code == 0);
  const std::string file = test::read_bytes(glint.folder / "a.png");
  CHECK(glint("generate 'red star' -m tiny -q -o -").out == file);
  CHECK(glint("generate 'red star' -m tiny -o -").out == file);  // paths and progress stay away
  CHECK(glint("generate 'red star' -m tiny -q -o png:-").out == file);
  CHECK(glint("generate 'red star' -m tiny -q -o /dev/stdout").out == file);
  CHECK_THAT(glint("generate 'red star' -m tiny -q -o webp:-").out, Catch::StartsWith("RIFF"));

  const Outcome piped = glint.shell("$GLINT generate 'red star' -m tiny -q -o /dev/stdout | cat > piped.png");
  CHECK(piped.exit_code == 0);
  CHECK(piped.err.empty());
  CHECK(test::read_bytes(glint.folder / "piped.png") == file);

  // Appending to a log keeps what is in it.
  glint.shell(
      "echo before > log; $GLINT generate 'red star' -m tiny -q -o /dev/stdout >> log; echo after >> log");
  CHECK(test::read_bytes(glint.folder / "log") == "before\n" + file + "after\n");

  CHECK_THAT(glint("generate 'red star' -m tiny -o - --json").err,
             Contains("--json: standard output is for"));
  CHECK_THAT(glint("generate 'red star' -m tiny -o - --count 2").err, Contains("takes one picture"));
  CHECK_THAT(glint.shell("$GLINT generate 'red star' -m tiny -o - >&-").err,
             Contains("standard output is closed"));
  const Outcome latents = glint("generate 'red star' -m tiny -q -o b.png --latents-out /dev/stdout");
  CHECK(latents.exit_code == 0);
  test::write_bytes(glint.folder / "l.safetensors", latents.out);
  CHECK(read_safetensors(glint.folder / "l.safetensors").contains("latents"));
}

TEST_CASE("Pipes and devices are written to, and their failures are failures", "[cli]") {
  const Program glint;
  const Outcome fifo = glint.shell(
      "mkfifo f; cat f > got.png & $GLINT generate 'red star' -m tiny -q -o f; code=$?; wait; exit $code");
  CHECK(fifo.exit_code == 0);
  CHECK(fs::is_fifo(glint.folder / "f"));
  CHECK(decoded(test::read_bytes(glint.folder / "got.png")).width == 16);

  const Outcome full = glint("generate 'red star' -m tiny -q -o /dev/full");
  CHECK(full.exit_code == 1);
  CHECK_THAT(full.err, Contains("/dev/full: cannot be written: No space left on device"));
  const Outcome closed =
      glint.shell("{ $GLINT generate 'red star' -m tiny -q -o -; echo $? > code; } | true; cat code");
  CHECK(closed.out == "1\n");
  CHECK_THAT(closed.err, Contains("Broken pipe"));
  const Outcome text = glint.shell("{ sleep 0.2; $GLINT list; echo $? > code; } | true; sleep 0.4; cat code");
  CHECK(text.out == "1\n");
}

TEST_CASE("A file that is there keeps its mode and every link to it", "[cli]") {
  const Program glint;
  const std::string make = "generate 'red star' -m tiny -q -o ";
  test::write_bytes(glint.folder / "private.png", "old");
  fs::permissions(glint.folder / "private.png", fs::perms(0600));
  REQUIRE(glint(make + "private.png").exit_code == 0);
  CHECK(mode_of(glint.folder / "private.png") == 0600);
  CHECK(read_png(glint.folder / "private.png").width == 16);

  test::write_bytes(glint.folder / "one.png", "old");
  fs::create_hard_link(glint.folder / "one.png", glint.folder / "two.png");
  REQUIRE(glint(make + "one.png").exit_code == 0);
  CHECK(fs::hard_link_count(glint.folder / "one.png") == 2);
  CHECK(read_png(glint.folder / "two.png").width == 16);

  fs::create_directory(glint.folder / "sub");
  fs::create_symlink("sub/target.png", glint.folder / "dangling.png");
  fs::create_symlink("dangling.png", glint.folder / "chain.png");
  REQUIRE(glint(make + "chain.png").exit_code == 0);
  CHECK(fs::is_symlink(glint.folder / "chain.png"));
  CHECK(fs::is_symlink(glint.folder / "dangling.png"));
  CHECK(read_png(glint.folder / "sub/target.png").width == 16);
  CHECK(unfinished(glint.folder.path()) == 0);
  CHECK(unfinished(glint.folder / "sub") == 0);
}

TEST_CASE("An output that cannot be written is refused before sampling, by name", "[cli]") {
  const Program glint;
  test::write_bytes(glint.folder / "fixed.png", "old");
  test::write_bytes(glint.folder / "p-2.png", "old");
  for (const char* name : {"fixed.png", "p-2.png"}) fs::permissions(glint.folder / name, fs::perms(0444));
  fs::create_symlink("fixed.png", glint.folder / "link.png");
  fs::create_symlink("loop-b.png", glint.folder / "loop-a.png");
  fs::create_symlink("loop-a.png", glint.folder / "loop-b.png");
  fs::create_symlink("nowhere/x.png", glint.folder / "lost.png");
  const std::tuple<const char*, int, const char*> cases[] = {
      {"-o fixed.png", 2, "fixed.png: cannot be written: Permission denied"},
      {"-o link.png", 2, "link.png: cannot be written: Permission denied"},
      {"-o ok.png --sheet link.png", 2, "link.png: cannot be written"},
      {"-o ok.png --latents-out fixed.png", 2, "fixed.png: cannot be written"},
      {"-o loop-a.png", 2, "loop-a.png: cannot be written: Too many levels of symbolic links"},
      {"-o lost.png", 1, "lost.png: cannot be written: there is no folder"},
      {"-o p.png --count 3", 2, "p-2.png: cannot be written: Permission denied"},
      {"-o tiny", 2, "tiny: cannot be written: Is a directory"},
      {"-o fixed.png/x.png", 2, "fixed.png/x.png: cannot be written"},
      {"--enlarge 64 --width 4096 --height 4096", 2, "enlarge: 64 times 4096 x 4096 px are more than"},
      {"--enlarge 33 --width 256 --height 256 -o a.png", 2,
       "a.png: 8448 x 8448 px are too many; a .png file has"},
      {"--enlarge 64 --width 256 --height 16 -o a.webp", 2, "a.webp: 16384 x 1024 px are too many"},
      {"--count 4000 --enlarge 16 --sheet s.png", 2, "s.png: "},
      {"blue \"$(printf 'green \\377')\"", 2, "prompts[2]: not UTF-8 at byte offset 6"},
      {"--negative \"$(printf '\\377')\"", 2, "negative: not UTF-8 at byte offset 0"},
  };
  for (const auto& [arguments, code, message] : cases) {
    CAPTURE(arguments);
    const Outcome run = glint("generate red -m tiny " + std::string(arguments));
    CHECK(run.exit_code == code);
    CHECK_THAT(run.err, Contains(message) && !Contains("step "));
  }
  CHECK(test::read_bytes(glint.folder / "fixed.png") == "old");
}

TEST_CASE("Extensions may be in capitals, and sizes are told in pixels", "[cli]") {
  const Program glint;
  CHECK(glint("generate red -m tiny -q -o A.PNG --sheet S.WebP").exit_code == 0);
  CHECK(read_png(glint.folder / "A.PNG").width == 16);
  CHECK_THAT(test::read_bytes(glint.folder / "S.WebP"), Catch::StartsWith("RIFF"));

  nlohmann::json fixed = Program::manifest();
  fixed["latent"]["fixed_size"] = true;
  test::write_bundle(glint.folder / "fixed", fixed);
  CHECK_THAT(glint("generate red -m fixed --width 32").err,
             Contains("width: the model makes 16 px and nothing else, got 32"));
  CHECK_THAT(glint("generate red -m tiny --width 536870912").err,
             Contains("width: expected at most 268435456, got"));
  CHECK_THAT(glint("generate red -m tiny --width 65536 --height 65536").err,
             Contains("width and height: expected"));
}

TEST_CASE("A scale after a LoRA file's name is read as people write it, or refused with what was wrong",
          "[cli]") {
  const Program glint;
  write_safetensors(glint.folder / "f.safetensors",
                    {{"query.lora_A.weight", at::randn({2, 8})}, {"query.lora_B.weight", at::randn({8, 2})}});
  const auto pixels = [&](const std::string& lora) {
    const Outcome run = glint("generate red -m tiny -q -o x.png --lora " + lora);
    INFO(run.err);
    REQUIRE(run.exit_code == 0);
    return read_png(glint.folder / "x.png");
  };
  CHECK(pixels("f.safetensors:+0.5") == pixels("f.safetensors:0.5"));
  for (const char* wrong : {"f.safetensors:0,8", "f.safetensors:", "f.safetensors:1e", "f.safetensors:nan"}) {
    const Outcome run = glint("generate red -m tiny -q --lora " + std::string(wrong));
    CAPTURE(wrong, run.err);
    CHECK(run.exit_code == 2);
    CHECK_THAT(run.err, Contains("number after the colon of '" + std::string(wrong) + "'"));
  }
  const Outcome huge = glint("generate red -m tiny -q --lora f.safetensors:1e308");
  CHECK(huge.exit_code == 2);
  CHECK_THAT(huge.err, Contains("adapters.f: expected a scale from -1000000000 to 1000000000"));
}

TEST_CASE("A LoRA file of which a part matches is applied with partial, and the rest is reported", "[cli]") {
  const Program glint;
  const auto file = [&](const char* name, std::initializer_list<const char*> layers) {
    TensorMap tensors;
    for (const std::string layer : layers) {
      tensors[layer + ".lora_A.weight"] = at::full({2, 8}, 0.5);
      tensors[layer + ".lora_B.weight"] = at::full({8, 2}, 0.5);
    }
    write_safetensors(glint.folder / name, tensors);
  };
  file("style.safetensors", {"query"});
  file("both.safetensors", {"query", "elsewhere"});
  const auto run = [&](const std::string& lora) {
    return glint("generate red -m tiny -o x.png --lora " + lora);
  };
  CHECK(run("style.safetensors:0.5").exit_code == 0);
  const Image style = read_png(glint.folder / "x.png");
  const Outcome whole = run("both.safetensors:0.5");
  CHECK(whole.exit_code == 2);
  CHECK_THAT(whole.err, Contains("no weights for 1 of 2 layers: elsewhere"));
  for (const char* given :
       {"both.safetensors:0.5:partial", "x=both.safetensors:0.5:partial", "both.safetensors:partial:0.5"}) {
    const Outcome partial = run(given);
    CAPTURE(given, partial.err);
    CHECK(partial.exit_code == 0);
    CHECK_THAT(partial.err, Contains("left out 1 of 2 layers") && Contains("elsewhere"));
    CHECK(read_png(glint.folder / "x.png") == style);
  }
  CHECK(glint("generate --from x.png -m tiny -q -o again.png").exit_code == 0);
  CHECK(read_png(glint.folder / "again.png") == style);
}

TEST_CASE("Options of the prompts are stored in the picture and repeated", "[cli]") {
  const Program glint;
  const std::string sdxl = " -q -m " + test::data("families/sdxl").string();
  const std::string run = "generate 'a fox' --steps 2 --width 32 --height 24" + sdxl;
  const std::string options =
      " --prompt-2 'red apple' --clip-skip 1 --original-size 64x48 --crop 8,0 --target-size 40x24";
  REQUIRE(glint(run + " -o plain.png").exit_code == 0);
  const Outcome made = glint(run + options + " -o a.png");
  INFO(made.err);
  REQUIRE(made.exit_code == 0);
  CHECK(read_png(glint.folder / "a.png") != read_png(glint.folder / "plain.png"));
  PngTexts texts;
  read_png(glint.folder / "a.png", &texts);
  CHECK(texts.at("prompt_2") == "red apple");
  CHECK(texts.at("crop") == "8,0");
  REQUIRE(glint("generate --from a.png -o b.png" + sdxl).exit_code == 0);
  CHECK(read_png(glint.folder / "b.png") == read_png(glint.folder / "a.png"));
  CHECK(glint("generate --from a.png --clip-skip 1 -o c.png" + sdxl).exit_code == 2);
  const Outcome tiny = glint("generate red -m tiny --clip-skip 1");
  CHECK(tiny.exit_code == 2);
  CHECK_THAT(tiny.err, Contains("clip_skip: expected none"));
  const Outcome bad = glint("generate red -m tiny --crop 5");
  CHECK(bad.exit_code == 2);
  CHECK_THAT(bad.err, Contains("crop: expected LEFT,TOP, such as 0,128, got '5'"));
}

}  // namespace GLINT_TEST_FILE
