// Arms from text: what a line means, when two lines mean the same, and what is refused.
#include <glint/eval/arm.hpp>

#include "tests/support/files.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;

TEST_CASE("A line names methods, a solver, and plain's settings", "[unit]") {
  const Arm arm = parse_arm("z-sampling:guidance_inverse=0,merge=0.5 + euler  +  plain:steps=7,guidance=2");
  CHECK(arm.name == "z-sampling:guidance_inverse=0,merge=0.5 + euler + plain:guidance=2,steps=7");
  REQUIRE(arm.methods.size() == 1);
  CHECK(arm.methods[0].name == "z-sampling");
  CHECK(arm.methods[0].options.size() == 2);
  CHECK(arm.solver->name == "euler");
  CHECK(arm.steps == 7);
  CHECK(arm.guidance == 2.0);
  CHECK(parse_arm("plain").key() == "plain");
  CHECK(parse_arm("apg").key() == "apg");
}

TEST_CASE("Arms that sample alike have one key, others have their own", "[unit]") {
  const auto key = [](const char* line) { return parse_arm(line).key(); };
  CHECK(key("cfg") == key("plain"));
  CHECK(key("cfg:scale=2") == key("plain:guidance=2"));
  CHECK(key("cfg:scale=2.0") == key("plain:guidance=2"));
  CHECK(key("apg:eta=0,scale=2") == key("apg:scale=2,eta=0"));
  CHECK(key("cfg:scale=2") != key("cfg:scale=2.5"));
  CHECK(key("cfg:scale=2") != key("plain:steps=2"));
  CHECK(key("cfg:scale=2 + rescale") != key("plain:guidance=2"));
  CHECK(key("cfg:scale=2 + rescale") != key("rescale"));
  CHECK(Arm{.candidates = 4, .selector = "a"}.key() != Arm{.candidates = 4, .selector = "b"}.key());
  CHECK(Arm{.candidates = 4, .selector = "a"}.key() != Arm{.candidates = 3, .selector = "a"}.key());
}

TEST_CASE("A line that means nothing is refused with the reason", "[unit]") {
  const std::pair<const char*, const char*> lines[] = {
      {"z-samplin", "did you mean 'z-sampling'?"},
      {"", "got no name"},
      {"apg + ", "got no name"},
      {"apg:eta", "expected key=value, got 'eta'"},
      {"ddim + euler", "solver: expected one at most, got 'ddim' and 'euler'"},
      {"plain:step=3", "unknown option 'step'; did you mean 'steps'?"},
      {"plain:steps=0", "plain.steps: expected a value in [1"},
      {"plain:steps=3 + plain:guidance=2", "plain: expected once"},
  };
  for (const auto& [line, reason] : lines) {
    CAPTURE(line);
    CHECK_THAT(test::failure([&, text = line] { parse_arm(text); }), Contains("InvalidArgument"));
    CHECK_THAT(test::failure([&, text = line] { parse_arm(text); }), Contains(reason));
  }
}

TEST_CASE("Files name the line that is wrong", "[unit]") {
  const test::TemporaryFolder folder;
  const auto methods = [&](const std::string& text) {
    return read_arms(test::write_bytes(folder / "methods.txt", text));
  };
  CHECK(methods("# all\n\napg\r\nz-sampling + rescale\n").size() == 2);
  CHECK_THAT(test::failure([&] { methods("apg\nnothing\n"); }), Contains("methods.txt: line 2: "));
  CHECK_THAT(test::failure([&] { methods("cfg\n\nplain\n"); }), Contains("line 3: 'plain' repeats line 1"));
  CHECK_THAT(test::failure([&] { methods("# none\n"); }), Contains("comments only"));

  const auto prompts = [&](const std::string& text) {
    return read_prompts(test::write_bytes(folder / "prompts.txt", text));
  };
  CHECK(prompts("\xEF\xBB\xBFred star\n\n#blue\r\nred\tcircle") ==
        std::vector<std::string>{"red star", "#blue", "red\tcircle"});
  CHECK_THAT(test::failure([&] { prompts("a\nb\na\n"); }),
             Contains("prompts.txt: line 3: 'a' repeats line 1"));
  CHECK_THAT(test::failure([&] { prompts("a\n\xff\n"); }), Contains("line 2: byte 0 is not UTF-8"));
  CHECK_THAT(test::failure([&] { prompts("a\nb\x1b[0m\n"); }), Contains("line 2: expected text"));
  CHECK_THAT(test::failure([&] { prompts(" \n"); }), Contains("expected prompts, one per line, got none"));
  CHECK_THAT(test::failure([&] { read_prompts(folder / "absent"); }), Contains("NotFound"));
}

TEST_CASE("The run's scale goes where an arm can use it", "[unit]") {
  const GenerateRequest request{.guidance = 4.0};
  CHECK(with_arm(request, parse_arm("z-sampling")).guidance == 4.0);
  CHECK(with_arm(request, parse_arm("apg")).guidance == 4.0);
  CHECK_FALSE(with_arm(request, parse_arm("apg:scale=7")).guidance);
  CHECK(with_arm(request, parse_arm("plain:guidance=2,steps=9")).guidance == 2.0);
  CHECK(with_arm(request, parse_arm("plain:guidance=2,steps=9")).steps == 9);
  CHECK(choosing_scorers(parse_arm("reward-selection + apg")) == std::vector<std::string>{"scorer"});
  CHECK(choosing_scorers(parse_arm("reward-selection:scorer=judge")) == std::vector<std::string>{"judge"});
  CHECK(choosing_scorers(parse_arm("apg")).empty());
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
