#include "eval/results.hpp"

#include "eval/json_number.hpp"

#include <fmt/format.h>

namespace glint::detail {
namespace {

using Json = nlohmann::ordered_json;

Json interval_json(const ConfidenceInterval& interval) { return Json::array({interval.low, interval.high}); }

Json arm_json(const ArmSummary& arm) {
  Json scores = Json::object();
  for (const auto& [scorer, score] : arm.scores)
    scores[scorer] = {{"mean", score.mean}, {"interval", interval_json(score.interval)}};
  return {{"name", arm.arm.name},
          {"key", arm.arm.key()},
          {"steps", arm.steps},
          {"guidance", arm.guidance},
          {"candidates", arm.arm.candidates},
          {"selector", arm.arm.selector.empty() ? Json() : Json(arm.arm.selector)},
          {"evaluations", arm.evaluations},
          {"effective_guidance",
           {{"signed", to_json_number(arm.signed_scale)},
            {"unsigned", to_json_number(arm.unsigned_scale)},
            {"orthogonal", to_json_number(arm.orthogonal)}}},
          {"saturation", arm.saturation},
          {"contrast", arm.contrast},
          {"diversity", to_json_number(arm.diversity)},
          {"scores", scores},
          {"seconds", arm.seconds}};
}

Json comparison_json(const EvalResult& result, const Comparison& row) {
  return {{"method", result.arms[row.method].arm.name},
          {"baseline", enum_name(row.kind)},
          {"baseline_arm", result.arms[row.baseline].arm.name},
          {"scorer", row.scorer},
          {"wins", row.wins.wins},
          {"ties", row.wins.ties},
          {"losses", row.wins.losses},
          {"win_rate", row.wins.rate},
          {"win_rate_interval", interval_json(row.wins.interval)},
          {"effective_pairs", row.wins.effective_pairs},
          {"difference", row.difference.mean},
          {"difference_interval", interval_json(row.difference.interval)},
          {"p", row.p},
          {"p_holm", row.p_holm},
          {"judge_chose_method", row.judge_chose_method},
          {"judge_chose_baseline", row.judge_chose_baseline}};
}

/// Quotes a text as RFC 4180 has it.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + '"';
}

}  // namespace

Json results_json(const EvalRequest& request, const Json& identity, const EvalResult& result) {
  Json arms = Json::array(), comparisons = Json::array();
  for (const ArmSummary& arm : result.arms) arms.push_back(arm_json(arm));
  for (const Comparison& row : result.comparisons) comparisons.push_back(comparison_json(result, row));
  return {{"format", 1},
          {"evaluation", identity},
          {"prompts", request.prompts},
          {"seeds", request.seeds},
          {"pairs", result.pairs},
          {"arms", arms},
          {"comparisons", comparisons},
          {"omitted", result.omitted}};
}

std::string results_csv(const EvalResult& result) {
  std::string csv =
      "method,baseline,baseline_arm,scorer,pairs,wins,ties,losses,win_rate,win_rate_low,win_rate_high,"
      "method_mean,baseline_mean,difference,difference_low,difference_high,p,p_holm,judge_chose_method,"
      "judge_chose_baseline,method_evaluations,baseline_evaluations\n";
  for (const Comparison& row : result.comparisons) {
    const ArmSummary &method = result.arms[row.method], &baseline = result.arms[row.baseline];
    csv += fmt::format(
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", quoted(method.arm.name),
        enum_name(row.kind), quoted(baseline.arm.name), quoted(row.scorer), result.pairs, row.wins.wins,
        row.wins.ties, row.wins.losses, row.wins.rate, row.wins.interval.low, row.wins.interval.high,
        method.scores.at(row.scorer).mean, baseline.scores.at(row.scorer).mean, row.difference.mean,
        row.difference.interval.low, row.difference.interval.high, row.p, row.p_holm, row.judge_chose_method,
        row.judge_chose_baseline, method.evaluations, baseline.evaluations);
  }
  return csv;
}

}  // namespace glint::detail
