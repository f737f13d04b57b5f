#include "eval/protocol.hpp"
#include "eval/results.hpp"
#include "eval/sampling.hpp"
#include "io/file.hpp"
#include "network/host_state.hpp"
#include "pipeline/identity.hpp"
#include "pipeline/sizes.hpp"

#include <glint/core/error.hpp>
#include <glint/io/sha256.hpp>
#include <glint/version.hpp>

#include <algorithm>
#include <set>

namespace glint {
namespace {

using Json = nlohmann::ordered_json;

void check_request(const EvalRequest& request) {
  const GenerateRequest& generate = request.generate;
  detail::check_numbers(generate);
  GenerateRequest all = generate;
  all.prompts = request.prompts;
  detail::check_prompts(all);
  std::set<std::string> seen;
  for (const std::string& prompt : request.prompts)
    GLINT_CHECK(seen.insert(prompt).second, InvalidArgument, "prompts: '{}' is given twice", prompt);
  GLINT_CHECK(!request.methods.empty(), InvalidArgument, "methods: expected at least one, got none");
  GLINT_CHECK(!request.scorers.empty(), InvalidArgument, "scorers: expected at least one, got none");
  GLINT_CHECK(generate.with.empty() && generate.adapters.empty() && !generate.conditioning &&
                  !generate.noise.defined(),
              InvalidArgument, "generate: methods, adapters, conditionings and noise cannot be given");
  GLINT_CHECK(request.seeds >= 1, InvalidArgument, "seeds: expected at least 1, got {}", request.seeds);
  GLINT_CHECK(request.measured >= 0, InvalidArgument, "measured: expected at least 0, got {}",
              request.measured);
  GLINT_CHECK(request.pictures >= 0, InvalidArgument, "pictures: expected at least 0, got {}",
              request.pictures);
  constexpr int64_t kMostPairs = int64_t{1} << 31;  // torch's generator looks at 32 bits of a seed
  GLINT_CHECK(request.seeds <= kMostPairs / static_cast<int64_t>(request.prompts.size()), InvalidArgument,
              "seeds: {} of {} prompts are too many", request.seeds, request.prompts.size());
  detail::check_share(request.share);
}

Json identity_of(const Pipeline& pipeline, const EvalRequest& request, const std::vector<Scorer>& scorers) {
  std::vector<std::string> components;
  for (const auto& [name, component] : pipeline.bundle().manifest().components) components.push_back(name);
  const Plan plan = pipeline.resolve(request.generate);
  Json identity = {{"format", 1}, {"glint", version()}};
  identity.update(detail::request_identity(pipeline.bundle(), request.generate, plan, components));
  identity["model"]["sha256"] = pipeline.bundle().sha256();  // also fixes the adapters
  Json& options = identity["options"];
  options.erase("count");
  options["vae_tile"] = plan.vae_tile;
  identity["seeds"] = request.seeds;
  identity["scorers"] = request.scorers;
  identity["scorer_sha256"] = Json::array();
  for (const Scorer& scorer : scorers) identity["scorer_sha256"].push_back(scorer.identity());
  identity["pictures"] = request.pictures;
  identity["measured"] = request.measured;
  identity["prompts"] = {{"count", request.prompts.size()}, {"sha256", sha256(Json(request.prompts).dump())}};
  return identity;
}

/// About the bytes that an evaluation needs: journal lines, and pictures that do not compress.
uintmax_t room_for(const EvalRequest& request, const Plan& plan) {
  constexpr uintmax_t kJournalBytes = 800, kReport = 1 << 20, kArmsPerMethod = 4;
  const uintmax_t arms = 1 + request.curve.size() + kArmsPerMethod * request.methods.size();
  const uintmax_t pairs = request.prompts.size() * static_cast<uintmax_t>(request.seeds);
  const uintmax_t pictures = std::min(pairs, static_cast<uintmax_t>(request.pictures));
  const auto pixels = static_cast<uintmax_t>(plan.size.height * plan.size.width);
  return arms * (pairs * kJournalBytes + pictures * 3 * pixels) + kReport;
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  const std::array<std::string_view, 1> pieces{text};
  detail::write_file(path, pieces);
}

}  // namespace

EvalResult evaluate(const Pipeline& pipeline, const EvalRequest& given) {
  return detail::torch_boundary(ErrorCode::Internal, "evaluate", [&] {
    check_request(given);
    const std::vector<Scorer> scorers = open_scorers(pipeline.bundle(), given.scorers);
    EvalRequest request = given;  // scorers by name from here on, since a path is one machine's
    request.scorers.clear();
    for (const Scorer& scorer : scorers) request.scorers.push_back(scorer.name());
    detail::PipelineSampler sampler(pipeline, request, scorers);
    const Json identity = identity_of(pipeline, request, scorers);
    // Before the folder is touched: a method that the model cannot run.
    for (const Arm& method : request.methods) detail::check_arm(sampler, method);
    detail::Journal journal(request.folder, identity, request.share.rank,
                            room_for(request, pipeline.resolve(request.generate)));
    EvalResult result = detail::Protocol(request, sampler, journal).run();
    result.unknown_words = sampler.unknown_words();
    if (!result.complete) return result;
    const std::filesystem::path& folder = request.folder;
    write_text(folder / "results.json", detail::results_json(request, identity, result).dump(1) + '\n');
    write_text(folder / "results.csv", detail::results_csv(result));
    write_text(folder / "report.html", detail::report_html(request, identity, result));
    return result;
  });
}

}  // namespace glint
