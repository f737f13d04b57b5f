#include "eval/chart.hpp"
#include "eval/results.hpp"
#include "eval/sampling.hpp"
#include "io/file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace glint::detail {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>glint eval</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 72rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.875rem; }
th, td { padding: 0.25rem 0.6rem; text-align: right; white-space: nowrap; }
tr { border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
td.name { white-space: normal; min-width: 12rem; overflow-wrap: anywhere; }
svg { width: 100%; max-width: 40rem; height: auto; font-size: 13px; fill: currentColor; }
svg.bar { width: 7rem; vertical-align: middle; }
th.method { text-align: left; white-space: normal; overflow-wrap: anywhere; padding-top: 0.9rem; }
td small, th small { font-weight: normal; }
@media (max-width: 32rem) {
  h1 { font-size: 1.5rem; }
  th, td { padding: 0.25rem 0.3rem; }
  td.text { white-space: normal; }
  svg.bar { width: 5rem; }
}
img { width: 96px; image-rendering: pixelated; display: block; }
small { opacity: 0.8; }
</style></head><body>
)";

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8U | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k) text += k <= count ? kDigits[(group >> (18 - 6 * k)) & 63U] : '=';
  }
  return text;
}

std::string measured(double value, int digits) {
  return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value, digits);
}

std::string with_interval(const ScoreSummary& score, bool difference = false) {
  return difference ? fmt::format("{:+.4f} <br><small>[{:+.4f}, {:+.4f}]</small>", score.mean,
                                  score.interval.low, score.interval.high)
                    : fmt::format("{:.4f} <small>[{:.4f}, {:.4f}]</small>", score.mean, score.interval.low,
                                  score.interval.high);
}

std::string label_of(size_t arm) { return fmt::format("#{}", arm); }

std::string arm_table(const EvalRequest& request, const EvalResult& result) {
  std::string html =
      R"(<h2>What was sampled</h2><div class="wide"><table><tr><th>#</th><th class="text">arm</th>)"
      "<th>steps</th><th>evaluations</th><th>guidance</th><th>effective scale</th>"
      "<th>unsigned</th><th>orthogonal</th>";
  for (const std::string& scorer : request.scorers) html += fmt::format("<th>{}</th>", escaped(scorer));
  html += "<th>saturation</th><th>contrast</th><th>diversity</th><th>seconds</th></tr>\n";
  for (size_t i = 0; i < result.arms.size(); ++i) {
    const ArmSummary& arm = result.arms[i];
    html += fmt::format(R"(<tr><td>{}</td><td class="text name">{}</td><td>{}</td><td>{:g}</td><td>{:g}</td>)"
                        "<td>{}</td><td>{}</td><td>{}</td>",
                        label_of(i), escaped(arm.arm.name), arm.steps, arm.evaluations, arm.guidance,
                        measured(arm.signed_scale, 3), measured(arm.unsigned_scale, 3),
                        measured(arm.orthogonal, 3));
    for (const std::string& scorer : request.scorers)
      html += fmt::format("<td>{}</td>", with_interval(arm.scores.at(scorer)));
    html += fmt::format("<td>{:.3f}</td><td>{:.3f}</td><td>{}</td><td>{:.1f}</td></tr>\n", arm.saturation,
                        arm.contrast, measured(arm.diversity, 3), arm.seconds);
  }
  return html + "</table></div>\n";
}

/// Whether a comparison counts as a difference, and in which direction; 0 = none was found.
int verdict(const Comparison& row) {
  constexpr double kLevel = 0.05;
  if (row.p_holm >= kLevel) return 0;
  return row.difference.mean > 0.0 ? 1 : -1;
}

/// Says which methods beat plain sampling of the same scale and of the same cost.
std::string summary_of(const EvalResult& result, const std::string& scorer) {
  std::map<size_t, bool> better;  // by method, in the table's order
  for (const Comparison& row : result.comparisons) {
    const bool matched = row.kind == Baseline::MatchedGuidance || row.kind == Baseline::MatchedEvaluations;
    if (row.scorer != scorer || !matched) continue;
    const auto [place, fresh] = better.emplace(row.method, true);
    place->second = place->second && verdict(row) > 0 && !row.judge_chose_method;
  }
  std::vector<std::string> names;
  for (const auto& [method, holds] : better)
    if (holds) names.push_back(escaped(result.arms[method].arm.name));
  return fmt::format(
      "<p>Better than plain sampling of the same scale and of the same cost, both with p below 0.05, and not "
      "chosen by this scorer: <strong>{}</strong>, of {} methods.</p>\n",
      names.empty() ? "none" : joined_text(names, ", "), better.size());
}

std::string comparison_row(const Comparison& row) {
  const char* note = row.judge_chose_method     ? "<br><small>this scorer chose the method's noises</small>"
                     : row.judge_chose_baseline ? "<br><small>this scorer chose the baseline's</small>"
                                                : "";
  const char* mark = verdict(row) > 0 ? "better" : verdict(row) < 0 ? "worse" : "";
  return fmt::format(R"(<tr><td class="text">{} <small>{}</small>{}</td>)"
                     "<td>{:.1f}&nbsp;% <br><small>[{:.1f}, {:.1f}]</small></td><td>{}</td>"
                     "<td>{:.4f} <br><small>{}</small></td><td>{}</td><td>{}, {}, {}</td></tr>\n",
                     enum_name(row.kind), label_of(row.baseline), note, 100 * row.wins.rate,
                     100 * row.wins.interval.low, 100 * row.wins.interval.high, svg_of(row.wins), row.p_holm,
                     mark, with_interval(row.difference, true), row.wins.wins, row.wins.ties,
                     row.wins.losses);
}

std::string comparison_table(const EvalResult& result, const std::string& scorer) {
  std::string html = fmt::format(
      "<h2>Win rates by {}</h2>{}<p>A method's share of won pairs, ties counted half, with its 95 % "
      "interval; "
      "the dashed line is one half. p is for a mean difference of zero, by Holm's correction over this "
      R"(table.</p><div class="wide"><table><tr><th class="text">against</th><th>win rate</th><th></th>)"
      "<th>p</th><th>difference</th><th>wins, ties, losses</th></tr>\n",
      escaped(scorer), summary_of(result, scorer));
  size_t shown = result.arms.size();
  for (const Comparison& row : result.comparisons) {
    if (row.scorer != scorer) continue;
    const ArmSummary& method = result.arms[row.method];
    if (row.method != shown)
      html += fmt::format(
          R"(<tr><th class="method" colspan="6">{} {}<br><small>{:g} evaluations, scale {}</small></th></tr>)"
          "\n",
          label_of(row.method), escaped(method.arm.name), method.evaluations,
          measured(method.signed_scale, 2));
    shown = row.method;
    html += comparison_row(row);
  }
  return html + "</table></div>\n";
}

/// Whether an arm differs from plain sampling in its guidance scale alone.
bool is_on_curve(const Arm& arm) {
  return arm.methods.empty() && !arm.solver && !arm.steps && arm.candidates == 1;
}

std::string charts(const EvalResult& result, const std::string& scorer) {
  Chart scale{.x_title = "guidance scale", .y_title = scorer};
  Chart cost{.x_title = "evaluations per picture", .y_title = scorer};
  for (size_t i = 0; i < result.arms.size(); ++i) {
    const ArmSummary& arm = result.arms[i];
    const ScoreSummary& score = arm.scores.at(scorer);
    const auto point = [&](double x) {
      return ChartPoint{.x = x, .y = score.mean, .interval = score.interval, .label = label_of(i)};
    };
    if (is_on_curve(arm.arm))
      scale.line.push_back(point(arm.guidance));
    else if (!arm.arm.methods.empty() && !std::isnan(arm.signed_scale))
      scale.marks.push_back(point(arm.signed_scale));
    const bool plain =
        arm.arm.methods.empty() && !arm.arm.solver && !arm.arm.guidance && arm.arm.candidates == 1;
    (plain ? cost.line : cost.marks).push_back(point(arm.evaluations));
  }
  for (Chart* chart : {&scale, &cost})
    std::sort(chart->line.begin(), chart->line.end(),
              [](const ChartPoint& a, const ChartPoint& b) { return a.x < b.x; });
  return fmt::format(
      "<h2>Scale and cost against {}</h2><p>The line is plain sampling, squares are other arms by their "
      "number "
      "above; upright lines are 95 % intervals. Methods stand at their effective scale.</p>{}{}\n",
      escaped(scorer), svg_of(scale), svg_of(cost));
}

std::string pictures(const EvalRequest& request, const EvalResult& result) {
  const int64_t shown = std::min(request.pictures, result.pairs);
  if (shown == 0) return "";
  std::string html = R"(<h2>Pictures</h2><div class="wide"><table><tr><th>prompt</th>)";
  for (size_t i = 0; i < result.arms.size(); ++i) html += fmt::format("<th>{}</th>", label_of(i));
  html += "</tr>\n";
  for (int64_t pair = 0; pair < shown; ++pair) {
    html += fmt::format(R"(<tr><td class="name">{} <small>seed {}</small></td>)",
                        escaped(request.prompts[static_cast<size_t>(pair / request.seeds)]),
                        request.generate.seed + static_cast<uint64_t>(pair));
    for (const ArmSummary& arm : result.arms) {
      const fs::path path = request.folder / picture_path(arm.arm, pair);
      std::error_code ignored;
      const std::string cell = fs::is_regular_file(path, ignored)
                                   ? fmt::format(R"(<img alt="{}" src="data:image/png;base64,{}">)",
                                                 escaped(arm.arm.name), base64(FileBytes(path).text()))
                                   : "-";
      html += "<td>" + cell + "</td>";
    }
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

}  // namespace

std::string report_html(const EvalRequest& request, const nlohmann::ordered_json& identity,
                        const EvalResult& result) {
  std::string html = kHead;
  constexpr double kHour = 3600.0;
  double hours = 0.0;
  for (const ArmSummary& arm : result.arms) hours += arm.seconds / kHour;
  html += fmt::format(
      "<h1>glint eval: {}</h1><p>{} prompts with {} each, {} pairs; {} steps, guidance {:g}. Every arm draws "
      "the same noises. Sampling took {:.2f} hours.</p>\n",
      escaped(identity.at("model").at("name").get<std::string>()), request.prompts.size(),
      request.seeds == 1 ? "one noise" : message("{} noises", request.seeds), result.pairs,
      result.arms.front().steps, result.arms.front().guidance, hours);
  for (const std::string& scorer : request.scorers) {
    html += comparison_table(result, scorer);
    html += charts(result, scorer);
  }
  for (const std::string& reason : result.omitted)
    html += fmt::format("<p>Not compared: {}</p>\n", escaped(reason));
  html += arm_table(request, result);
  html += pictures(request, result);
  return html + "</body></html>\n";
}

}  // namespace glint::detail
