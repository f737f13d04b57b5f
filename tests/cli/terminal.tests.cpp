// What the program prints: valid text whatever it is given, and no more than the terminal can show.
#include <glint/image/png.hpp>
#include <glint/io/sha256.hpp>
#include <glint/io/utf8.hpp>

#include "tests/support/archives.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

#include <nlohmann/json.hpp>

#include <sstream>

using namespace glint;
using nlohmann::json;
using test::Contains;
using test::Outcome;
using test::Program;

namespace GLINT_TEST_FILE {

constexpr const char* kEscape = "\x1b[31m";

bool is_plain(const std::string& text) {
  return !invalid_utf8_offset(text) && std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 32 && c != '\n';
  });
}

TEST_CASE("Control characters from arguments, names and files are shown, not obeyed", "[cli]") {
  const Program glint;
  json manifest = Program::manifest();
  manifest["name"] = std::string("bad") + kEscape + "\u009b2J\u202e";
  test::write_bundle(glint.folder / "bad", manifest);
  manifest["components"]["denoiser"]["fi\x1b]0;x\x07le"] = "x";
  test::write_bundle(glint.folder / "worse", manifest);
  const char* commands[] = {
      "generate red -m \"$(printf 'no\\033[31mred')\"",
      "generate red -m tiny --with \"$(printf 'c\\033[31mfg')\"",
      "generate red -m tiny \"$(printf -- '--st\\033[31mep')\" 3",
      "generate red -m tiny --steps \"$(printf '\\033[31m')\"",
      "generate red -m tiny -o \"$(printf 'no\\033[31m/x.png')\"",
      "generate red -m tiny --noise-in \"$(printf '\\033[31m\\377')\"",
      "generate red -m worse",
      "inspect bad",
      "inspect worse",
      "list model",
      "generate \"$(printf 'red \\033[31m \\302\\233 star')\" -m tiny -o \"$(printf 'a\\033[31m.png')\"",
  };
  for (const char* command : commands) {
    CAPTURE(command);
    const Outcome run = glint(command);
    CAPTURE(run.err, run.out);
    CHECK(is_plain(run.err));
    CHECK(is_plain(run.out));
    CHECK_THAT(run.err + run.out, Contains("\\x1b"));
  }
  CHECK_THAT(glint("inspect bad").out, Contains("\\x9b") && Contains("\\u202e"));
  CHECK(json::parse(glint("inspect bad --json").out)["name"] == manifest["name"]);
}

TEST_CASE("Standard output is the program's alone: a network that prints does not break JSON", "[cli]") {
  const Program glint;
  int changed = 0;
  test::rewrite_archive(test::data("modules/denoiser.pt"), glint.folder / "tiny/denoiser.pt",
                        [&](const std::string& name, std::string& content) {
                          if (!name.starts_with("code/") || !name.ends_with(".py")) return;
                          const size_t forward = content.find("def forward(");
                          if (forward == std::string::npos || changed++ > 0) return;
                          const size_t body = content.find("Tensor:\n", forward);
                          REQUIRE(body != std::string::npos);
                          content.insert(body + 8, "    print(\"{ chatter\")\n");
                        });
  REQUIRE(changed >= 1);
  json manifest = Program::manifest();
  manifest["components"]["denoiser"]["sha256"] = sha256_file(glint.folder / "tiny/denoiser.pt");
  test::write_bytes(glint.folder / "tiny/model.json", manifest.dump());
  const Outcome run = glint("generate 'red star' -m tiny -q --json -o a.png");
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK(json::parse(run.out)["images"] == json({"a.png"}));
  CHECK_THAT(run.err, Contains("{ chatter"));
  CHECK(glint("generate 'red star' -m tiny -q -o -").out == test::read_bytes(glint.folder / "a.png"));
}

TEST_CASE("Labels and messages are cut between characters", "[cli]") {
  const Program glint;
  std::string prompt;
  for (int i = 0; i < 30; ++i) prompt += "\u8d64\u3044\u308a\u3093\u3054";  // 5 characters of 3 bytes
  for (int shift = 0; shift < 3; ++shift) {
    const Outcome run =
        glint("generate '" + std::string(static_cast<size_t>(shift), 'x') + prompt + "' -m tiny -o a.png");
    CHECK(run.exit_code == 0);
    CHECK_FALSE(invalid_utf8_offset(run.err));
    CHECK_THAT(run.err, Contains("...: step 3/3"));
  }
  json manifest = Program::manifest();
  for (int shift = 0; shift < 3; ++shift) {
    manifest["family"] = std::string(static_cast<size_t>(shift), 'x') + prompt;
    manifest["format"] = manifest["family"];
    test::write_bytes(glint.folder / "tiny/model.json", manifest.dump());
    const Outcome run = glint("inspect tiny");
    CHECK(run.exit_code == 1);
    CHECK_FALSE(invalid_utf8_offset(run.err));
  }
}

TEST_CASE("Every word that has no effect is reported, whatever its alphabet", "[cli]") {
  const Program glint;
  const Outcome run = glint("generate 'red яблоко 苹果 na\u00efve \U0001F34E star' -m tiny -o a.png");
  CHECK_THAT(run.err, Contains("the model does not know: яблоко, 苹果, na\u00efve, \U0001F34E"));
}

/// What the program writes to a terminal of this many columns.
std::string on_terminal(const Program& glint, int columns, const std::string& environment,
                        const std::string& arguments) {
  glint.shell(fmt::format("{} script -qec \"stty cols {}; $GLINT {}\" typed >/dev/null </dev/null",
                          environment, columns, arguments));
  return test::read_bytes(glint.folder / "typed");
}

TEST_CASE("Colours and cursor codes are for terminals that have them", "[cli]") {
  const Program glint;
  const std::string generate = "generate 'red zeppelin' -m tiny -o a.png";
  const std::string usual = on_terminal(glint, 80, "TERM=xterm NO_COLOR=", generate);
  CHECK_THAT(usual, Contains("\x1b[33m") && Contains("\r\x1b[K"));
  const std::string plain = on_terminal(glint, 80, "TERM=xterm NO_COLOR=1", generate);
  CHECK_THAT(plain, !Contains("\x1b[33m") && Contains("\r\x1b[K"));
  const std::string dumb = on_terminal(glint, 80, "TERM=dumb COLORTERM=truecolor", generate);
  CHECK_THAT(dumb, !Contains("\x1b") && Contains("step 3/3"));
  const std::string refused = on_terminal(glint, 80, "TERM=xterm", "generate red -m tiny -o -");
  CHECK_THAT(refused, Contains("standard output is a terminal"));
}

TEST_CASE("Lines fit the terminal", "[cli]") {
  const Program glint;
  for (const int columns : {30, 60}) {
    const std::string typed =
        on_terminal(glint, columns, "TERM=xterm NO_COLOR=1",
                    "generate 'a small red star left of a large blue circle' -m tiny -o a.png");
    std::istringstream parts(typed);
    int bars = 0;
    for (std::string part; std::getline(parts, part, '\r');) {
      if (!part.starts_with("\x1b[K")) continue;
      const std::string line = part.substr(3, part.find('\n') - 3);
      if (line.starts_with("glint: ")) continue;  // a message, which the terminal wraps
      CAPTURE(line);
      CHECK(columns_of(line) < static_cast<size_t>(columns));
      bars += line.find("s/step") != std::string::npos;
    }
    CHECK(bars >= 1);
    std::istringstream list(on_terminal(glint, columns, "TERM=xterm", "list z-sampling"));
    size_t longest_word = 0, longest = 0;
    for (std::string line; std::getline(list, line);) {
      if (line.starts_with("Script ")) continue;
      longest = std::max(longest, line.size());
      std::istringstream words(line);
      for (std::string word; words >> word;) longest_word = std::max(longest_word, word.size());
    }
    CHECK(longest <= std::max(static_cast<size_t>(columns) + 1, longest_word + 5));
  }
}

TEST_CASE("A model from elsewhere is announced before its code runs, or refused", "[cli]") {
  const Program glint;
  test::write_bundle(glint.folder / "elsewhere/tiny2", Program::manifest());
  const std::string model = "generate red -m elsewhere/tiny2 -o a.png ";
  const Outcome told = glint(model);
  CHECK(told.exit_code == 0);
  const std::string notice =
      "elsewhere/tiny2 runs code from its files denoiser.pt, text_encoder.pt, vae_decoder.pt";
  CHECK_THAT(told.err, Contains(notice));
  CHECK(told.err.find(notice) == told.err.rfind(notice));
  CHECK_THAT(glint(model + "--trust code").err, !Contains("runs code"));
  CHECK_THAT(glint("generate red -m tiny -o a.png").err, !Contains("runs code"));
  std::filesystem::remove(glint.folder / "a.png");
  const Outcome refused = glint("generate red -m tiny -o a.png --trust none");
  CHECK(refused.exit_code == 2);
  CHECK_THAT(refused.err,
             Contains("components.denoiser: trust: denoiser.pt is code (torchscript), and trust is none"));
  CHECK_FALSE(glint.exists("a.png"));

  const std::string hash = sha256_file(glint.folder / "tiny/model.json");
  CHECK(glint("generate red -m tiny -q -o a.png --sha256 " + hash).exit_code == 0);
  const Outcome other = glint("generate red -m tiny -q -o a.png --sha256 " + std::string(64, '0'));
  CHECK(other.exit_code == 1);
  CHECK_THAT(other.err, Contains("model.json is not the model.json that was asked for") ||
                            Contains("is not the model.json that was asked for: expected 0000"));
  CHECK_THAT(glint("inspect tiny").out, Contains("SHA-256 " + hash));
  CHECK(json::parse(glint("inspect tiny --json").out)["sha256"] == hash);
}

}  // namespace GLINT_TEST_FILE
