// Runs that end early: what is finished is kept, and the exit code says why.
#include <glint/image/png.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

#include <nlohmann/json.hpp>

using namespace glint;
using nlohmann::json;
using test::Contains;
using test::Outcome;
using test::Program;

namespace GLINT_TEST_FILE {

// A shell starts background jobs with Ctrl-C ignored, which the program respects; env gives it back.
constexpr const char* kUntilThirdPicture =
    "env --default-signal=INT $GLINT generate red -m tiny --steps 1000 --count 4000 --batch 1 -o p.png {} & "
    "while [ ! -e p-3.png ] && kill -0 $!; do sleep 0.02; done; kill -{} $!; wait $!";

size_t pictures(const Program& glint) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(glint.folder.path())) {
    const std::string name = entry.path().filename().string();
    CHECK_FALSE(name.ends_with(".tmp"));
    if (!name.starts_with("p-")) continue;
    CHECK(read_png(entry.path()).width == 16);
    ++count;
  }
  return count;
}

TEST_CASE("Ctrl-C keeps the pictures that are finished, and says which", "[cli]") {
  const Program glint;
  const Outcome run = glint.shell(fmt::format(kUntilThirdPicture, "--json -q", "INT"));
  CHECK(run.exit_code == 130);
  CHECK_THAT(run.err, Contains("cancelled: ") && Contains(" of 4000 were written"));
  const json report = json::parse(run.out);
  const size_t made = pictures(glint);
  CHECK(made >= 3);
  CHECK(made < 4000);
  CHECK(report["images"].size() == made);
  CHECK(report["images"][2] == "p-3.png");
  CHECK_THAT(report["error"].get<std::string>(), Contains("cancelled"));
}

TEST_CASE("SIGTERM ends a run as Ctrl-C does, with its own exit code", "[cli]") {
  const Program glint;
  const Outcome run = glint.shell(fmt::format(kUntilThirdPicture, "", "TERM"));
  CHECK(run.exit_code == 143);
  CHECK(pictures(glint) >= 3);
  CHECK_THAT(run.out, Contains("p-1.png\np-2.png\np-3.png\n"));
}

TEST_CASE("A signal that the program was started to ignore stays ignored", "[cli]") {
  const Program glint;
  const Outcome run = glint.shell(
      "trap '' INT; $GLINT generate red -m tiny --steps 200 --count 4 --batch 1 -q -o p.png & "
      "while [ ! -e p-1.png ] && kill -0 $!; do sleep 0.02; done; kill -INT $!; wait $!");
  CHECK(run.exit_code == 0);
  CHECK(pictures(glint) == 4);
}

TEST_CASE("A disk that fails during a later picture keeps the earlier ones, and is no bad usage", "[cli]") {
  for (const auto& [fault, message] :
       {std::pair{"write:2:28", "No space left on device"}, std::pair{"write:2:5", "Input/output error"},
        std::pair{"fsync:3:5", "Input/output error"}, std::pair{"rename:2:28", "No space left on device"}}) {
    CAPTURE(fault);
    const Program glint;
    const Outcome run = glint.shell(
        fmt::format("LD_PRELOAD=$SHIM FAULT={}{} $GLINT generate red -m tiny --count 3 -q --json -o p.png",
                    fault, std::string(fault).starts_with("write") ? ":.glint-" : ""));
    INFO(run.err);
    CHECK(run.exit_code == 1);
    CHECK_THAT(run.err, Contains("p-2.png: cannot be written: " + std::string(message)));
    const json report = json::parse(run.out);
    CHECK(report["images"] == json({"p-1.png"}));
    CHECK_THAT(report["error"].get<std::string>(), Contains(message));
    CHECK(read_png(glint.folder / "p-1.png").width == 16);
    CHECK(pictures(glint) == 1);
  }
}

TEST_CASE("A program killed at any write leaves whole files only, and the next run works", "[cli]") {
  const Program glint;
  for (int n = 1; n <= 3; ++n) {
    const Outcome run = glint.shell(fmt::format(
        "LD_PRELOAD=$SHIM FAULT=write:{}:kill:.glint- $GLINT generate red -m tiny --count 3 -q -o p.png", n));
    CAPTURE(n, run.err);
    CHECK(run.exit_code == 137);
    for (int k = 1; k <= 3; ++k) {
      const auto picture = glint.folder / fmt::format("p-{}.png", k);
      if (std::filesystem::exists(picture)) CHECK(read_png(picture).width == 16);
    }
  }
  CHECK(glint("generate red -m tiny --count 3 -q -o p.png").exit_code == 0);
}

TEST_CASE("A prompts file that cannot be read to its end is an error", "[cli]") {
  const Program glint;
  test::write_bytes(glint.folder / "prompts.txt", "red star\nblue circle\n");
  const Outcome failed = glint.shell(
      "LD_PRELOAD=$SHIM FAULT=read:2:5:prompts.txt $GLINT collect trajectories --prompts prompts.txt -m tiny "
      "-o c");
  CHECK(failed.exit_code == 1);
  CHECK_THAT(failed.err, Contains("prompts.txt: cannot be read: Input/output error"));
  CHECK_FALSE(glint.exists("c"));
  const Outcome piped = glint.shell(
      "printf 'red star\\nblue circle' | $GLINT collect trajectories --prompts /dev/stdin -m tiny -o c "
      "--json");
  CHECK(piped.exit_code == 0);
  CHECK(json::parse(piped.out)["items"] == 2);
}

}  // namespace GLINT_TEST_FILE
