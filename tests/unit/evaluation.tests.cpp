// Evaluations: the protocol on scores that are known, the journal's promise, and a small bundle's run.
#include "eval/protocol.hpp"

#include <glint/eval/evaluation.hpp>

#include "tests/support/files.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <functional>
#include <random>
#include <thread>

namespace glint {
namespace GLINT_TEST_FILE {

namespace fs = std::filesystem;
using detail::ArmSampler;
using detail::ArmSettings;
using detail::Journal;
using detail::PairResult;
using detail::Protocol;
using detail::UnitResult;
using test::Contains;

/// A normal number that depends on the seed alone.
double normal_of(uint64_t seed) {
  std::mt19937_64 random(seed);
  const double u = (static_cast<double>(random()) + 1.0) / 18446744073709551617.0;
  return std::sqrt(-2.0 * std::log(u)) *
         std::cos(6.283185307179586 * static_cast<double>(random()) / 18446744073709551616.0);
}

bool is_apg(const Arm& arm) { return !arm.methods.empty() && arm.methods.front().name == "apg"; }

/// Scores every picture with normal noise, and those of `apg` with an effect. Plain sampling costs two rows a
/// step; methods cost three times that and amount to guidance 5.
class StubSampler final : public ArmSampler {
 public:
  explicit StubSampler(uint64_t seed = 1) : seed_(seed) {}

  double effect = 0.0;
  int sampled = 0, stop_after = -1;

  ArmSettings settings(const Arm& arm) const override {
    GLINT_CHECK(arm.steps.value_or(10) <= 100, InvalidArgument, "steps: expected at most 100, got {}",
                *arm.steps);
    return {.steps = arm.steps.value_or(10), .guidance = arm.guidance.value_or(3.0)};
  }
  bool measures() const override { return true; }
  std::string scorer_identity(const std::string& scorer) const override {
    return scorer == "twin" ? "scorer" : scorer;
  }
  UnitResult sample(const Arm& arm, int64_t first, int64_t size, bool measure) override {
    GLINT_CHECK(sampled != stop_after, Cancelled, "stopped");
    ++sampled;
    const ArmSettings with = settings(arm);
    const bool method = !arm.methods.empty();
    UnitResult unit{.first = first,
                    .measured = measure,
                    .rows = size * 2 * with.steps * (method ? 3 : 1) * arm.candidates,
                    .seconds = 0.25};
    for (int64_t pair = first; pair < first + size; ++pair) {
      // Every arm has noise of its own, as methods change pictures; the same arm has the same.
      const double noise = normal_of(seed_ * 1000003 + static_cast<uint64_t>(pair) * 101 +
                                     std::hash<std::string>{}(arm.key()));
      PairResult result{.scores = {noise + (is_apg(arm) ? effect : 0.0), -noise}};
      if (measure) {
        result.signed_scale = method ? 5.00004 : with.guidance + 1e-7;
        result.unsigned_scale = result.signed_scale;
        result.orthogonal = 0.0;
      }
      result.thumbnail.fill(static_cast<uint8_t>(pair % 2 == 0 ? 0 : 51));
      unit.pairs.push_back(result);
    }
    return unit;
  }

 private:
  uint64_t seed_;
};

EvalRequest request_in(const fs::path& folder, const std::vector<std::string>& methods, int prompts = 8,
                       std::vector<std::string> scorers = {"scorer", "other"}) {
  EvalRequest request{
      .folder = folder, .scorers = std::move(scorers), .generate = GenerateRequest{.batch = 3}};
  for (int i = 0; i < prompts; ++i) request.prompts.push_back("prompt " + std::to_string(i));
  for (const std::string& method : methods) request.methods.push_back(parse_arm(method));
  return request;
}

EvalResult run(const EvalRequest& request, StubSampler& sampler) {
  Journal journal(request.folder, {{"format", 1}, {"seeds", request.seeds}}, request.share.rank, 0);
  return Protocol(request, sampler, journal).run();
}

const Comparison& row_of(const EvalResult& result, Baseline kind, const std::string& method,
                         const std::string& scorer = "scorer") {
  for (const Comparison& row : result.comparisons)
    if (row.kind == kind && row.scorer == scorer && result.arms[row.method].arm.name == method) return row;
  fail(ErrorCode::Internal, "no such row");
}

TEST_CASE("A method is matched in guidance, in evaluations and by the best of k", "[unit]") {
  const test::TemporaryFolder folder;
  StubSampler sampler;
  const EvalResult result = run(request_in(folder / "e", {"apg"}), sampler);
  CHECK(result.complete);
  CHECK(result.pairs == 8);
  const auto baseline = [&](Baseline kind) { return result.arms[row_of(result, kind, "apg").baseline]; };
  CHECK(baseline(Baseline::Plain).arm.name == "plain");
  CHECK(baseline(Baseline::MatchedGuidance).arm.name == "plain:guidance=5");
  CHECK(baseline(Baseline::MatchedGuidance).guidance == 5.0);
  CHECK(baseline(Baseline::MatchedGuidance).evaluations == 20.0);
  CHECK(baseline(Baseline::MatchedEvaluations).steps == 30);
  CHECK(baseline(Baseline::MatchedEvaluations).evaluations == 60.0);
  CHECK(baseline(Baseline::BestOfK).arm.candidates == 3);
  CHECK(baseline(Baseline::BestOfK).evaluations == 60.0);
  CHECK(result.arms[1].evaluations == 60.0);
  CHECK(result.arms[1].signed_scale == Approx(5.00004));
  CHECK(result.arms[1].seconds == 0.75);  // three batches
  // plain, apg, three baselines, and a best of 3 by the other scorer; 3 batches each
  CHECK(result.arms.size() == 6);
  CHECK(sampler.sampled == 18);
}

TEST_CASE("The best of k is chosen by a scorer that does not judge, or the row says so", "[unit]") {
  const test::TemporaryFolder folder;
  StubSampler sampler;
  const EvalResult two =
      run(request_in(folder / "two", {"apg", "reward-selection:scorer=other + apg"}), sampler);
  const Comparison& row = row_of(two, Baseline::BestOfK, "apg");
  CHECK(two.arms[row.baseline].arm.selector == "other");
  CHECK_FALSE(row.judge_chose_baseline);
  CHECK_FALSE(row.judge_chose_method);
  const std::string selection = two.arms[2].arm.name;
  CHECK_FALSE(row_of(two, Baseline::Plain, selection, "scorer").judge_chose_method);
  CHECK(row_of(two, Baseline::Plain, selection, "other").judge_chose_method);

  // `twin` is another name of the network that judges.
  const EvalResult one =
      run(request_in(folder / "one", {"apg", "reward-selection"}, 8, {"scorer", "twin"}), sampler);
  const Comparison& same = row_of(one, Baseline::BestOfK, "apg");
  CHECK(one.arms[same.baseline].arm.selector == "scorer");
  CHECK(same.judge_chose_baseline);
  CHECK(row_of(one, Baseline::Plain, "reward-selection", "twin").judge_chose_method);
}

TEST_CASE("A baseline that the model cannot sample is left out with the reason", "[unit]") {
  const test::TemporaryFolder folder;
  StubSampler sampler;  // takes at most 100 steps
  const EvalResult result = run(request_in(folder / "e", {"apg + plain:steps=40"}, 8, {"scorer"}), sampler);
  REQUIRE(result.omitted.size() == 1);
  CHECK_THAT(result.omitted[0],
             Contains("matched-evaluations (scorer): steps: expected at most 100, got 120"));
  CHECK(result.comparisons.size() == 3);
  CHECK(row_of(result, Baseline::BestOfK, "apg + plain:steps=40").wins.rate >= 0.0);
}

TEST_CASE("CFG against itself wins half, all ties, and costs nothing more", "[unit]") {
  const test::TemporaryFolder folder;
  StubSampler sampler;
  const EvalResult result = run(request_in(folder / "e", {"cfg", "cfg:scale=2"}), sampler);
  for (const Comparison& row : result.comparisons) {
    const bool itself = result.arms[row.method].arm.name == "plain" || row.kind == Baseline::MatchedGuidance;
    if (!itself) continue;
    CAPTURE(enum_name(row.kind));
    CHECK(row.wins.ties == 8);
    CHECK(row.wins.rate == 0.5);
    CHECK(row.difference.mean == 0.0);
    CHECK(row.p == 1.0);
  }
  CHECK(result.arms.size() == 2);
}

TEST_CASE("A planted effect is found and no effect is not, at the stated rates", "[unit]") {
  // Two noises in a difference: d = 0.707 / sqrt(2) and n = 32 give power 0.785 by the noncentral t. Over 200
  // evaluations its standard deviation is 0.029, and that of a rate of 0.05 is 0.0155.
  constexpr int kEvaluations = 200;
  const test::TemporaryFolder folder;
  int found = 0, false_alarms = 0, corrected = 0;
  for (int i = 0; i < kEvaluations; ++i) {
    EvalRequest request = request_in(folder / std::to_string(i), {"apg", "cfg-zero-star"}, 32, {"scorer"});
    request.generate.batch = 32;
    StubSampler sampler(static_cast<uint64_t>(i) + 1);
    sampler.effect = 0.707;
    const EvalResult result = run(request, sampler);
    found += row_of(result, Baseline::MatchedGuidance, "apg").p < 0.05;
    false_alarms += row_of(result, Baseline::MatchedGuidance, "cfg-zero-star").p < 0.05;
    corrected += row_of(result, Baseline::MatchedGuidance, "cfg-zero-star").p_holm < 0.05;
  }
  CHECK(found > (0.785 - 3 * 0.029) * kEvaluations);
  CHECK(found < (0.785 + 3 * 0.029) * kEvaluations);
  CHECK(false_alarms < (0.05 + 3 * 0.0155) * kEvaluations);
  CHECK(corrected <= false_alarms);
}

std::string digest(const EvalResult& result) {
  std::string text;
  for (const ArmSummary& arm : result.arms)
    text += fmt::format("{} {} {} {} {}\n", arm.arm.key(), arm.evaluations, arm.scores.at("scorer").mean,
                        arm.signed_scale, arm.diversity);
  for (const Comparison& row : result.comparisons)
    text += fmt::format("{} {} {} {} {} {}\n", row.method, row.baseline, row.wins.rate, row.difference.mean,
                        row.p, row.p_holm);
  return text;
}

TEST_CASE("An evaluation that is killed goes on where it was, to the same bits", "[unit]") {
  const test::TemporaryFolder folder;
  StubSampler undisturbed;
  const std::string whole = digest(run(request_in(folder / "whole", {"apg", "cfg-zero-star"}), undisturbed));
  const EvalRequest request = request_in(folder / "parts", {"apg", "cfg-zero-star"});
  int sampled = 0;
  for (int left = undisturbed.sampled; left > 1; --left) {
    StubSampler sampler;
    sampler.stop_after = 1;
    CHECK_THAT(test::failure([&] { run(request, sampler); }), Contains("Cancelled"));
    sampled += sampler.sampled;
    // What a kill in the middle of a line leaves.
    const fs::path journal = request.folder / "journal-0.jsonl";
    test::write_bytes(journal, test::read_bytes(journal) + "0123456789abcdef {\"arm\":\"pl");
  }
  StubSampler last;
  const EvalResult result = run(request, last);
  CHECK(sampled + last.sampled == undisturbed.sampled);
  CHECK(digest(result) == whole);
  CHECK(result.resumed == static_cast<int64_t>(result.arms.size()) * 8 - 2);  // the last batch has two
}

TEST_CASE("A line that is damaged is sampled again", "[unit]") {
  const test::TemporaryFolder folder;
  const EvalRequest request = request_in(folder / "e", {"apg"});
  StubSampler sampler;
  const std::string whole = digest(run(request, sampler));
  const fs::path journal = request.folder / "journal-0.jsonl";
  const std::string bytes = test::read_bytes(journal);
  std::mt19937 random(3);
  for (int i = 0; i < 20; ++i) {
    test::write_bytes(journal, test::mutated(bytes, random));
    StubSampler again;
    CHECK(digest(run(request, again)) == whole);
  }
}

TEST_CASE("Processes that share an evaluation end with the result of one", "[unit]") {
  const test::TemporaryFolder folder;
  StubSampler alone;
  const std::string whole = digest(run(request_in(folder / "one", {"apg"}), alone));
  std::vector<EvalResult> results(3);
  std::vector<StubSampler> samplers(3);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < 3; ++rank)
    threads.emplace_back([&, rank] {
      EvalRequest request = request_in(folder / "three", {"apg"});
      request.share.rank = rank;
      request.share.ranks = 3;
      results[static_cast<size_t>(rank)] = run(request, samplers[static_cast<size_t>(rank)]);
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(digest(results[0]) == whole);
  CHECK(results[0].complete);
  CHECK_FALSE(results[1].complete);
  for (const StubSampler& sampler : samplers) CHECK(sampler.sampled == alone.sampled / 3);
}

TEST_CASE("A process that is missing is named, and one process can do its share", "[unit]") {
  const test::TemporaryFolder folder;
  EvalRequest request = request_in(folder / "e", {"apg"});
  request.share.ranks = 2;
  request.share.patience = 0.0;
  StubSampler first;
  CHECK_THAT(test::failure([&] { run(request, first); }), Contains("rank 1 of 2 does not run"));
  request.share.ranks = 1;
  StubSampler rest, alone;
  const EvalResult result = run(request, rest);
  CHECK(digest(result) == digest(run(request_in(folder / "one", {"apg"}), alone)));
  CHECK(first.sampled + rest.sampled == alone.sampled);
}

TEST_CASE("A folder of another evaluation, or of something else, is refused untouched", "[unit]") {
  const test::TemporaryFolder folder;
  StubSampler sampler;
  EvalRequest request = request_in(folder / "e", {"apg"});
  run(request, sampler);
  request.seeds = 2;
  CHECK_THAT(test::failure([&] { run(request, sampler); }),
             Contains("holds another evaluation: its seeds is 1, this run's is 2"));
  request.folder = folder / "foreign";
  fs::create_directory(request.folder);
  test::write_bytes(request.folder / "letter.txt", "dear");
  CHECK_THAT(test::failure([&] { run(request, sampler); }), Contains("holds something else (letter.txt)"));
  CHECK(std::distance(fs::directory_iterator(request.folder), fs::directory_iterator()) == 1);
  request.folder = folder / "foreign" / "letter.txt";
  CHECK_THAT(test::failure([&] { run(request, sampler); }), Contains("InvalidArgument: folder"));
  CHECK_THAT(test::failure([&] {
               Journal(folder / "full", {{"format", 1}}, 0, uintmax_t{1} << 62);
             }),
             Contains("has room for"));
  const Journal held(folder / "held", {{"format", 1}}, 0, 0);
  CHECK_THAT(test::failure([&] {
               Journal(folder / "held", {{"format", 1}}, 0, 0);
             }),
             Contains("another process evaluates"));
}

TEST_CASE("Diversity is the distance between the seeds of a prompt", "[unit]") {
  const test::TemporaryFolder folder;
  EvalRequest request = request_in(folder / "e", {"apg"}, 4);
  request.seeds = 2;
  StubSampler sampler;
  CHECK(run(request, sampler).arms[0].diversity == Approx(0.2));  // 51 / 255 apart
  request.seeds = 1;
  request.folder = folder / "single";
  CHECK(std::isnan(run(request, sampler).arms[0].diversity));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
