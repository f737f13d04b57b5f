// glint collect: collects training data for CoRe2's weak network and for golden-noise networks.
#include "cli/collect.hpp"
#include "cli/progress.hpp"
#include "cli/share.hpp"
#include "cli/terminal.hpp"

#include <glint/io/lines.hpp>
#include <glint/pipeline/pipeline.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>

namespace glint::cli {
namespace {

using Json = nlohmann::ordered_json;

void fill_request(CollectArguments& args) {
  CollectRequest& request = args.request;
  if (!args.prompt_file.empty())
    for (TextLine& line : read_lines(args.prompt_file, "prompts"))
      request.generate.prompts.push_back(std::move(line.text));
  if (!args.solver.empty()) request.generate.solver = parse_choice(args.solver);
  request.generate.schedule = schedule_options(args.schedule);
  read_share(request.share, args.model);
  request.stored = args.stored == "float32" ? StoredType::Float32 : StoredType::Float16;
}

NoisePairOptions pair_options(const CollectArguments& args) {
  OptionValues values;
  for (const auto& [name, text] : args.pair_options) values.emplace(name, text);
  return read_options<NoisePairOptions>("noise-pairs", values);
}

}  // namespace

int collect(CollectArguments& args) {
  if (args.threads > 0) at::set_num_threads(args.threads);
  fill_request(args);
  const Pipeline pipeline(open_model(args.model, false, args.quiet));
  const InterruptGuard guard;
  Interruptible observer;
  args.request.generate.observer = &observer;
  CollectResult result;
  try {
    ProgressLines lines(args.quiet, 10);
    args.request.progress = [&lines](const CollectProgress& p) {
      lines.show(p.done, p.total, [&] {
        const std::string kept = p.kept == p.done ? "" : fmt::format(", {} kept", p.kept);
        return fmt::format("{}/{} items{}", p.done, p.total, kept);
      });
    };
    result = args.pairs ? collect_noise_pairs(pipeline, args.request, pair_options(args))
                        : collect_trajectories(pipeline, args.request);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Cancelled) throw;
    spdlog::error("cancelled; the same command continues where this one stopped");
    return 128 + InterruptGuard::signal();
  }
  if (!args.quiet && !result.unknown_words.empty())
    spdlog::warn("the model does not know: {} (they count as one unknown word)",
                 joined_text(result.unknown_words, ", "));
  if (!args.quiet && !result.dropped_words.empty())
    spdlog::warn("beyond a prompt's length and without effect: {}", joined_text(result.dropped_words, ", "));
  if (args.json) {
    const Json report = {{"folder", args.request.folder.string()},
                         {"items", result.items},
                         {"kept", result.kept},
                         {"shards", result.shards},
                         {"resumed_items", result.resumed_items},
                         {"calls", result.usage.calls},
                         {"rows", result.usage.rows},
                         {"seconds", result.usage.seconds},
                         {"versions", versions()}};
    print_json(report);
  } else if (!args.quiet) {
    const Share& share = args.request.share;
    const std::string part =
        share.rank == 0 ? "" : fmt::format(", process {} of {}", share.rank + 1, share.ranks);
    print("{}: {} of {} items kept in {} shards{}\n", args.request.folder.string(), result.kept, result.items,
          result.shards, part);
  }
  return kOk;
}

}  // namespace glint::cli
