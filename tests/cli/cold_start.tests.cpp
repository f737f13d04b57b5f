// What the program says without libtorch, and that it is what the library says.
#include <glint/catalog/registry.hpp>
#include <glint/version.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/places.hpp"
#include "tests/support/program.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>

namespace glint {
namespace GLINT_TEST_FILE {

using nlohmann::json;
using test::Contains;
using test::Outcome;
using test::Program;

TEST_CASE("What needs no network is said without libtorch", "[cli]") {
  const Program glint;
  // A copy without the module has no libtorch to load; one beside it is the whole program.
  const std::string module = "libglint_program.so";
  for (const char* folder : {"alone", "whole"}) {
    std::filesystem::create_directory(glint.folder / folder);
    std::filesystem::copy_file(test::program(), glint.folder / folder / "glint");
  }
  std::filesystem::create_symlink(test::program().parent_path() / module, glint.folder / "whole" / module);
  const auto alone = [&](const std::string& arguments) { return glint.shell("alone/glint " + arguments); };
  const auto whole = [&](const std::string& arguments) { return glint.shell("whole/glint " + arguments); };
  for (const char* arguments : {"--version", "--help", "list", "list --json", "list core2", "list model",
                                "generate --help", "collect noise-pairs --help", "eval --help"}) {
    CAPTURE(arguments);
    const Outcome said = alone(arguments), expected = whole(arguments);
    CHECK(said.exit_code == 0);
    CHECK(said.out == expected.out);
    CHECK_FALSE(said.out.empty());
    CHECK(said.err.empty());
  }
  for (const char* arguments :
       {"generat", "generate", "generate x --no-such", "generate x --steps many", "generate x -m nothing",
        "generate x -m tiny --with apgg", "generate x -m tiny --with apg:ete=1",
        "generate x -m tiny --solver heun:x=1", "generate x -m tiny --schedule karas",
        "compare x --with apg -m nothing", "collect trajectories x -o y -m nothing", "inspect nothing",
        "list nothing", "--version --jsn"}) {
    CAPTURE(arguments);
    const Outcome said = alone(arguments), expected = whole(arguments);
    CHECK((said.exit_code == 1 || said.exit_code == 2));
    CHECK(said.exit_code == expected.exit_code);
    CHECK(said.err == expected.err);
    CHECK_FALSE(said.err.empty());
  }
  const Outcome run = alone("generate x -m tiny");
  CHECK(run.exit_code == 1);
  CHECK_THAT(run.err, Contains("cannot load the rest of the program: "));
  CHECK(whole("generate x -m tiny -o x.png").exit_code == 0);
}

TEST_CASE("The program lists what the library registers", "[cli]") {
  const Program glint;
  const json listed = json::parse(glint("list --json").out);
  size_t methods = 0;
  for (const json& entry : listed) methods += entry["kind"] != "model";
  REQUIRE(methods == builtins().entries().size());
  for (size_t i = 0; i < methods; ++i) {
    const Registry::Entry& entry = builtins().entries()[i];
    CAPTURE(entry.info.name);
    CHECK(listed[i]["kind"] == entry.info.kind);
    CHECK(listed[i]["name"] == entry.info.name);
    CHECK(listed[i]["summary"] == entry.info.summary);
    CHECK(listed[i]["cost"] == entry.info.cost);
    CHECK(listed[i]["source"] == entry.info.source);
    REQUIRE(listed[i]["options"].size() == entry.options.size());
    for (size_t o = 0; o < entry.options.size(); ++o) {
      CHECK(listed[i]["options"][o]["name"] == entry.options[o].name);
      CHECK(listed[i]["options"][o]["help"] == entry.options[o].help);
      CHECK(listed[i]["options"][o]["unit"] == entry.options[o].unit);
    }
  }
  CHECK(json::parse(glint("--version --json").out)["torch"] == torch_version());
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
