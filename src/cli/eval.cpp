// glint eval: evaluates methods on many prompts and seeds against matched baselines.
#include "cli/eval.hpp"
#include "cli/progress.hpp"
#include "cli/share.hpp"
#include "cli/terminal.hpp"

#include <glint/pipeline/pipeline.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>

namespace glint::cli {
namespace {

using Json = nlohmann::ordered_json;

void fill_request(EvalArguments& args) {
  EvalRequest& request = args.request;
  request.prompts = read_prompts(args.prompt_file);
  if (!args.method_file.empty()) request.methods = read_arms(args.method_file);
  for (const std::string& line : args.with) request.methods.push_back(parse_arm(line));
  GLINT_CHECK(!request.methods.empty(), InvalidArgument,
              "methods: expected --methods FILE or --with, got none");
  if (!args.solver.empty()) request.generate.solver = parse_choice(args.solver);
  request.generate.schedule = schedule_options(args.schedule);
  read_share(request.share, args.model);
}

/// Returns a time in the unit that suits it.
std::string duration(double seconds) {
  constexpr double kMinute = 60.0, kHour = 3600.0;
  if (seconds < 2 * kMinute) return fmt::format("{:.0f} s", seconds);
  return seconds < 2 * kHour ? fmt::format("{:.0f} min", seconds / kMinute)
                             : fmt::format("{:.1f} h", seconds / kHour);
}

/// Reports progress and the time left.
class EvalReport {
 public:
  explicit EvalReport(bool quiet) : lines_(quiet, 20) {}

  void operator()(const EvalProgress& p) {
    lines_.show(p.done, p.total, [&] {
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
      const auto made = static_cast<double>(p.done - p.resumed);
      const double left = seconds / std::max(made, 1.0) * static_cast<double>(p.total - p.done);
      return p.whole
                 ? fmt::format("{}/{} pictures, about {} left: {}", p.done, p.total, duration(left), p.arm)
                 : fmt::format("{}/{} pictures before the baselines, about {}: {}", p.done, p.total,
                               duration(left), p.arm);
    });
  }

 private:
  ProgressLines lines_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

void print_table(const EvalResult& result) {
  size_t widest = 6;
  for (const ArmSummary& arm : result.arms) widest = std::max(widest, arm.arm.name.size());
  print("{:{}}  {:20} {:10} {:>18} {:>24} {:>7}\n", "method", widest, "against", "scorer", "win rate",
        "difference", "p");
  for (const Comparison& row : result.comparisons) {
    const bool chosen = row.judge_chose_method || row.judge_chose_baseline;
    print("{:{}}  {:20} {:10} {:5.1f} % [{:4.1f}, {:4.1f}] {:+.4f} [{:+.4f}, {:+.4f}] {:7.4f}{}\n",
          result.arms[row.method].arm.name, widest, enum_name(row.kind), row.scorer, 100.0 * row.wins.rate,
          100.0 * row.wins.interval.low, 100.0 * row.wins.interval.high, row.difference.mean,
          row.difference.interval.low, row.difference.interval.high, row.p_holm,
          chosen ? "  (the judge chose)" : "");
  }
}

}  // namespace

int eval(EvalArguments& args) {
  if (args.threads > 0) at::set_num_threads(args.threads);
  fill_request(args);
  EvalRequest& request = args.request;
  const bool attention = std::any_of(request.methods.begin(), request.methods.end(),
                                     [](const Arm& arm) { return changes_attention(arm); });
  const Pipeline pipeline(open_model(args.model, attention, args.quiet));
  const InterruptGuard guard;
  Interruptible observer;
  request.generate.observer = &observer;
  EvalResult result;
  try {
    EvalReport report(args.quiet);
    request.progress = [&report](const EvalProgress& p) { report(p); };
    result = evaluate(pipeline, request);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Cancelled) throw;
    spdlog::error("cancelled; the same command continues where this one stopped");
    return 128 + InterruptGuard::signal();
  }
  if (!args.quiet && !result.unknown_words.empty())
    spdlog::warn("the model does not know: {} (they count as one unknown word)",
                 joined_text(result.unknown_words, ", "));
  if (!result.complete) return kOk;
  if (!args.quiet)
    for (const std::string& reason : result.omitted) spdlog::warn("not compared: {}", reason);
  const std::string folder = request.folder.string();
  if (args.json) {
    const Json report = {
        {"folder", folder},      {"results", folder + "/results.json"}, {"report", folder + "/report.html"},
        {"pairs", result.pairs}, {"arms", result.arms.size()},          {"resumed_pictures", result.resumed},
        {"versions", versions()}};
    print_json(report);
  } else if (!args.quiet) {
    print_table(result);
    print("{}/report.html\n", folder);
  }
  return kOk;
}

}  // namespace glint::cli
