// glint generate --prompts: pictures of a file, one by one or shared by several processes.
#include "tests/support/catch.hpp"
#include "tests/support/program.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace glint;
using nlohmann::json;
using test::Contains;
using test::Outcome;

namespace GLINT_TEST_FILE {

/// With a prompt file of three lines.
struct Program : test::Program {
  Program() { test::write_bytes(folder / "prompts.txt", "red star\nblue circle\n\ngreen star\n"); }

  std::string picture(const std::string& name) const { return test::read_bytes(folder / name); }
};

constexpr const char* kGenerate = "generate --prompts prompts.txt -m tiny --count 3 --batch 2 --steps 2 -q ";

TEST_CASE("Pictures of a prompt file are those of the prompts, whoever makes them", "[cli]") {
  const Program glint;
  Outcome run = glint(
      "generate 'red star' 'blue circle' 'green star' -m tiny --count 3 --batch 2 --steps 2 -q --json "
      "--effective-guidance --sheet all.webp -o given.png");
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  const json given = json::parse(run.out);
  run = glint(std::string(kGenerate) + "--json --effective-guidance --sheet sheet.webp -o file.png");
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  const json report = json::parse(run.out);
  for (const char* same : {"prompts", "steps", "rows", "nfe", "calls", "effective_guidance_scale"})
    CHECK(report[same] == given[same]);
  CHECK(report["images"].size() == 9 + 1);  // and the sheet
  CHECK(glint.picture("sheet.webp") == glint.picture("all.webp"));

  const Outcome shared = glint.shared(std::string(kGenerate) + "--json -o share.png");
  INFO(shared.err);
  REQUIRE(shared.exit_code == 0);
  for (int k = 1; k <= 9; ++k) {
    CAPTURE(k);
    CHECK(glint.picture(fmt::format("file-{}.png", k)) == glint.picture(fmt::format("given-{}.png", k)));
    CHECK(glint.picture(fmt::format("share-{}.png", k)) == glint.picture(fmt::format("given-{}.png", k)));
  }
  // Each made whole batches of two: 1 to 6, and 7 to 9.
  CHECK_THAT(shared.out, Contains("\"share-6.png\"\n  ]") && Contains("[\n    \"share-7.png\""));
  REQUIRE(glint("generate --from share-8.png -q -o again.png").exit_code == 0);
  CHECK(glint.picture("again.png") == glint.picture("share-8.png"));
}

TEST_CASE("A share may be empty, and what needs all pictures is refused", "[cli]") {
  const Program glint;
  const Outcome none =
      glint.shell(fmt::format("WORLD_SIZE=6 RANK=5 $GLINT {} --json -o none.png", kGenerate));
  INFO(none.err);
  CHECK(none.exit_code == 0);
  CHECK(json::parse(none.out)["images"].empty());
  struct Case {
    const char *environment, *arguments, *message;
  };
  const Case cases[] = {
      {"WORLD_SIZE=2 RANK=1", "--sheet s.png", "--sheet: needs all pictures, and 2 processes share them"},
      {"WORLD_SIZE=2 RANK=1", "--latents-out l.safetensors", "--latents-out: needs all pictures"},
      {"WORLD_SIZE=2 RANK=2", "", "RANK: expected less than WORLD_SIZE, 2, got 2"},
      {"WORLD_SIZE=0", "", "WORLD_SIZE: expected at least 1, got 0"},
      {"WORLD_SIZE=two", "", "WORLD_SIZE: expected an integer of at least 0, got 'two'"},
      {"", "--from prompts.txt", "--prompts"},
      {"", "--cond-in l.safetensors", "--cond-in: replaces the prompt"},
  };
  for (const Case& bad : cases) {
    CAPTURE(bad.environment, bad.arguments);
    const Outcome run =
        glint.shell(fmt::format("{} $GLINT {} -o bad.png {}", bad.environment, kGenerate, bad.arguments));
    CHECK(run.exit_code == 2);
    CHECK_THAT(run.err, Contains(bad.message));
    CHECK_FALSE(glint.exists("bad-1.png"));
  }
}

}  // namespace GLINT_TEST_FILE
