// glint compare and glint eval, run as a user runs them on the bundled model, with very few steps.
#include <glint/image/png.hpp>

#include "tests/support/program.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>

namespace glint {
namespace GLINT_TEST_FILE {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Contains;
using test::Outcome;

/// A folder with the bundled model and files of prompts and methods.
struct Bundled : test::Program {
  Bundled() {
    fs::create_directory_symlink(test::source_dir() / "models/emoji-flow", folder / "emoji-flow");
    test::write_bytes(folder / "prompts.txt", "red apple\nblue heart\ngreen star\n");
    test::write_bytes(folder / "methods.txt", "# two\nz-sampling:stop=0.5\ncfg:scale=1.5\n");
  }
};

constexpr const char* kEval =
    "eval --prompts prompts.txt --methods methods.txt --steps 2 --seeds 2 --batch 4 --pictures 2 --seed 5 ";

TEST_CASE("Compare writes a labelled sheet of the same seeds", "[cli]") {
  const Bundled glint;
  const Outcome run = glint(
      "compare 'red apple' --with cfg:scale=1.5 --with 'z-sampling:stop=0.5 + rescale' --steps 2 --json -q");
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  const json report = json::parse(run.out);
  const json& columns = report["columns"];
  REQUIRE(columns.size() == 3);
  CHECK(columns[0]["method"] == "plain");
  CHECK(columns[0]["evaluations"] == 4.0);
  // One active step of two more evaluations at most; the guidance of the inversion is off.
  CHECK(columns[2]["evaluations"] > 4.0);
  for (int row = 0; row < 2; ++row) {
    CHECK(columns[0]["effective_guidance_scale"][row].get<double>() == Approx(3.0).margin(1e-6));
    CHECK(columns[1]["effective_guidance_scale"][row].get<double>() == Approx(1.5).margin(1e-6));
  }
  CHECK(columns[1]["scores"]["scorer"].size() == 2);
  PngTexts texts;
  const Image sheet = read_png(glint.folder / "compare.png", &texts);
  CHECK(sheet.width >= 3 * 192);
  CHECK(sheet.height >= 2 * 192);
  CHECK(texts.at("prompt") == "red apple");
  const json again = json::parse(glint("compare 'red apple' --with cfg:scale=1.5 --steps 2 --json -q").out);
  CHECK(again["columns"][1]["scores"] == columns[1]["scores"]);
}

TEST_CASE("What an evaluation changes about its prompts is recorded, and another is refused", "[cli]") {
  const Bundled glint;
  const fs::path judge = glint.folder / "judge";
  fs::create_directory(judge);
  json manifest = {{"format", 1}, {"name", "judge"}};
  for (const auto& [role, file] : {std::pair{"scorer", "scorer.pt"}, {"tokenizer", "tokenizer.json"}}) {
    fs::copy_file(test::source_dir() / "models/emoji-flow" / file, judge / file);
    const json own = json::parse(test::read_bytes(test::source_dir() / "models/emoji-flow/model.json"));
    manifest[role] = own["components"][role];
  }
  test::write_bytes(judge / "scorer.json", manifest.dump());
  const std::string eval =
      "eval --prompts prompts.txt --with apg --steps 2 --width 64 --height 64 --scorer "
      "judge --pictures 0 --measured 0 -q -o e -m '" +
      (test::source_dir() / "tests/data/families/sdxl").string() + "' ";
  const Outcome run = glint(eval + "--clip-skip 1");
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  const json options = json::parse(test::read_bytes(glint.folder / "e/evaluation.json"))["options"];
  CHECK(options["text"] == json({{"clip_skip", "1"}}));
  CHECK(glint(eval + "--clip-skip 1").exit_code == 0);
  const Outcome refused = glint(eval + "--clip-skip 0");
  CHECK(refused.exit_code == 2);
  CHECK_THAT(refused.err, Contains("options.text"));
  CHECK_THAT(glint(eval + "--text-length 9").err, Contains("text_length"));
}

/// Returns an evaluation's results without what differs between runs.
json results_of(const fs::path& folder) {
  json results = json::parse(test::read_bytes(folder / "results.json"));
  for (json& arm : results["arms"]) arm.erase("seconds");
  return results;
}

TEST_CASE("Eval measures methods against their baselines, and resumes to the same bits", "[cli]") {
  const Bundled glint;
  const Outcome run = glint(std::string(kEval) + "-o whole");
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK_THAT(run.out, Contains("matched-evaluations"));
  CHECK_THAT(run.err, Contains("s left"));
  const json results = results_of(glint.folder / "whole");
  CHECK(results["pairs"] == 6);
  // CFG is measured as itself, and so is its own baseline: all pairs tie.
  const json& cfg = results["arms"][2];
  CHECK(cfg["name"] == "cfg:scale=1.5");
  CHECK(cfg["effective_guidance"]["signed"].get<double>() == Approx(1.5).margin(1e-6));
  // The best of k is another picture, and the scorer that chose it likes it better.
  const auto best = std::find_if(results["arms"].begin(), results["arms"].end(),
                                 [](const json& arm) { return arm["candidates"] > 1; });
  REQUIRE(best != results["arms"].end());
  CHECK((*best)["scores"]["scorer"]["mean"] > results["arms"][0]["scores"]["scorer"]["mean"]);
  for (const json& row : results["comparisons"]) {
    if (row["method"] != "cfg:scale=1.5" || row["baseline"] != "matched-guidance") continue;
    CHECK(row["ties"] == 6);
    CHECK(row["win_rate"] == 0.5);
  }
  const std::string csv = test::read_bytes(glint.folder / "whole/results.csv");
  CHECK(std::count(csv.begin(), csv.end(), '\n') == static_cast<long>(results["comparisons"].size()) + 1);
  const std::string report = test::read_bytes(glint.folder / "whole/report.html");
  CHECK_THAT(report, Contains("data:image/png;base64,iVBOR"));
  CHECK(report.find("http") == std::string::npos);

  // Cut the journal anywhere, as a kill does: the same command ends in the same results.
  fs::copy(glint.folder / "whole", glint.folder / "cut", fs::copy_options::recursive);
  const fs::path journal = glint.folder / "cut/journal-0.jsonl";
  const std::string lines = test::read_bytes(journal);
  for (const size_t bytes : {lines.size() / 3, lines.size() - 1}) {
    test::write_bytes(journal, lines.substr(0, bytes));
    const Outcome rest = glint(std::string(kEval) + "-o cut --json -q");
    INFO(rest.err);
    REQUIRE(rest.exit_code == 0);
    CHECK(json::parse(rest.out)["resumed_pictures"] > 0);
    CHECK(results_of(glint.folder / "cut") == results);
  }
}

TEST_CASE("Processes share an evaluation and give the results of one", "[cli]") {
  const Bundled glint;
  REQUIRE(glint(std::string(kEval) + "-q -o one").exit_code == 0);
  const std::string program = test::program().string();
  const std::string command = fmt::format(
      "cd {} && export GLINT_MODELS=. OMP_NUM_THREADS=1 && (WORLD_SIZE=2 RANK=1 {} {} -q -o two & "
      "WORLD_SIZE=2 RANK=0 {} {} -q -o two; wait) 2>err.txt",
      glint.folder.path().string(), program, kEval, program, kEval);
  const int status = std::system(command.c_str());
  INFO(test::read_bytes(glint.folder / "err.txt"));
  REQUIRE(status == 0);
  CHECK(results_of(glint.folder / "two") == results_of(glint.folder / "one"));
  CHECK(fs::file_size(glint.folder / "two/journal-1.jsonl") > 0);
}

TEST_CASE("A full disk ends an evaluation with the reason, and loses nothing that was done", "[cli]") {
  const Bundled glint;
  REQUIRE(glint(std::string(kEval) + "-q -o whole").exit_code == 0);
  // The third line of the journal does not fit, or the first file of the folder.
  for (const auto& [fault, resumed] : {std::pair{"write:3:28:journal-0", 6}, {"write:1:28:.glint-", 0}}) {
    CAPTURE(fault);
    const Outcome full =
        glint.shell(fmt::format("LD_PRELOAD=$SHIM FAULT={} $GLINT {} -q -o full", fault, kEval));
    CHECK(full.exit_code == 1);
    CHECK_THAT(full.err, Contains("cannot be written: No space left on device"));
    CHECK_FALSE(glint.exists("full/results.json"));
    const Outcome rest = glint(std::string(kEval) + "-q --json -o full");
    INFO(rest.err);
    REQUIRE(rest.exit_code == 0);
    CHECK(json::parse(rest.out)["resumed_pictures"] >= resumed);
    CHECK(results_of(glint.folder / "full") == results_of(glint.folder / "whole"));
    fs::remove_all(glint.folder / "full");
  }
}

TEST_CASE("A process that is killed is reported, and its share is done by who goes on", "[cli]") {
  const Bundled glint;
  REQUIRE(glint(std::string(kEval) + "-q -o whole").exit_code == 0);
  // Rank 1 is killed while it writes its second line; rank 0 waits for it no longer than it is told.
  const Outcome both = glint.shared(std::string(kEval) + "-q --patience 1 -o two",
                                    "LD_PRELOAD=$SHIM FAULT=write:2:kill:journal-1");
  CHECK(both.exit_code == 1);
  CHECK_THAT(both.err, Contains("rank 1 of 2 does not run and its share is not done"));
  const Outcome rest = glint(std::string(kEval) + "-q --json -o two");
  INFO(rest.err);
  REQUIRE(rest.exit_code == 0);
  CHECK(json::parse(rest.out)["resumed_pictures"] > 0);
  CHECK(results_of(glint.folder / "two") == results_of(glint.folder / "whole"));
}

TEST_CASE("Bad input of compare and eval is refused before the first picture", "[cli]") {
  const Bundled glint;
  test::write_bytes(glint.folder / "bad_prompts.txt",
                    "fine\nb\xff"
                    "d\n");
  test::write_bytes(glint.folder / "bad_methods.txt", "apg\nz-samplin\n");
  struct Case {
    std::string arguments;
    int exit_code;
    const char* message;
  };
  const std::string eval = "eval --steps 2 -o never ";
  const Case cases[] = {
      {eval + "--prompts bad_prompts.txt --with apg", 2, "bad_prompts.txt: line 2: byte 1 is not UTF-8"},
      {eval + "--prompts absent.txt --with apg", 1, "absent.txt: cannot be read"},
      {eval + "--prompts prompts.txt --methods bad_methods.txt", 2,
       "bad_methods.txt: line 2: unknown method 'z-samplin'"},
      {eval + "--prompts prompts.txt", 2, "expected --methods FILE or --with, got none"},
      {eval + "--prompts prompts.txt --with apg:eta=x", 2, "methods: 'apg:eta=x': apg.eta"},
      {eval + "--prompts prompts.txt --with apg --scorer judge", 1, "judge"},
      {eval + "--prompts prompts.txt --with apg -m tiny", 1, "scorer"},
      {eval + "--prompts prompts.txt --with apg --scorer emoji-flow", 1, "there is no scorer.json in it"},
      {eval + "--prompts prompts.txt --with apg --scorer emoji-flow/vae_decoder.pt", 1,
       "scorer: 'vae_decoder' cannot rate the pictures of model 'emoji-flow'"},
      {eval + "--prompts prompts.txt --with apg --scorer prompts.txt", 1, "prompts.txt"},
      {eval + "--prompts prompts.txt --with apg --seeds 0", 2, "seeds: expected at least 1, got 0"},
      {"eval --prompts prompts.txt --with apg -o prompts.txt", 2, "prompts.txt"},
      {"eval --prompts prompts.txt --with apg -o emoji-flow", 2, "holds something else"},
      {"compare 'red apple'", 2, "--with is required"},
      {"compare 'red apple' --with z-samplin", 2, "did you mean 'z-sampling'?"},
      {"compare 'red apple' --with apg -o nowhere/sheet.png", 1, "nowhere"},
      {"compare 'red apple' --with apg --scorer judge", 1, "judge"},
  };
  for (const Case& bad : cases) {
    CAPTURE(bad.arguments);
    const Outcome run = glint(bad.arguments);
    CHECK(run.exit_code == bad.exit_code);
    CHECK_THAT(run.err, Contains(bad.message));
  }
  CHECK_FALSE(glint.exists("never/journal-0.jsonl"));
  CHECK_FALSE(glint.exists("compare.png"));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
