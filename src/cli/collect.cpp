// glint collect: collects training data for CoRe2's weak network and for golden-noise networks.
#include "cli/cli.hpp"
#include "cli/progress.hpp"
#include "cli/terminal.hpp"

#include <glint/collect/noise_pairs.hpp>
#include <glint/collect/trajectories.hpp>
#include <glint/io/lines.hpp>
#include <glint/pipeline/pipeline.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <memory>

namespace glint::cli {
namespace {

using Json = nlohmann::ordered_json;

struct CollectArguments {
  ModelArguments model;
  std::string prompt_file, solver, schedule, stored = "float16";
  int threads = 0;
  bool json = false, quiet = false;
  CollectRequest request;
  std::map<std::string, std::string> pair_options;  ///< by name, unparsed
};

void fill_request(CollectArguments& args) {
  CollectRequest& request = args.request;
  if (!args.prompt_file.empty())
    for (TextLine& line : read_lines(args.prompt_file, "prompts"))
      request.generate.prompts.push_back(std::move(line.text));
  if (!args.solver.empty()) request.generate.solver = parse_choice(args.solver);
  request.generate.schedule = schedule_options(args.schedule);
  request.stored = args.stored == "float32" ? StoredType::Float32 : StoredType::Float16;
}

using Collect = std::function<CollectResult(const Pipeline&, const CollectArguments&)>;

int collect(CollectArguments& args, const Collect& run) {
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
    result = run(pipeline, args);
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
    print("{}: {} of {} items kept in {} shards\n", args.request.folder.string(), result.kept, result.items,
          result.shards);
  }
  return kOk;
}

void add_options(CLI::App& command, CollectArguments& args) {
  CollectRequest& r = args.request;
  command.add_option("prompt", r.generate.prompts, "what to draw; before those of --prompts");
  command.add_option("--prompts", args.prompt_file, "text file or pipe with one prompt per line");
  command
      .add_option("--output,-o", r.folder, "folder to collect into; a collection begun there is continued")
      ->required();
  add_model_options(command, args.model);
  add_request_options(command, r.generate, args.solver, args.schedule, args.threads);
  command.add_option("--seed", r.generate.seed, "item k is drawn with seed + k")->capture_default_str();
  command.add_option("--count", r.generate.count, "noises per prompt")->capture_default_str();
  command.add_option("--batch", r.generate.batch, "items sampled at once")->capture_default_str();
  command
      .add_option("--shard", r.shard,
                  "items per file: what is kept in memory, and lost by a run that is killed")
      ->capture_default_str();
  command.add_option("--stored", args.stored, "dtype of latents and predictions in the files")
      ->check(CLI::IsMember({"float16", "float32"}))
      ->capture_default_str();
  command.add_option("--frames", r.generate.frames, "frames of a video model");
  command.add_flag("--json", args.json, "print one JSON object about the run");
  command.add_flag("--quiet,-q", args.quiet, "no progress, no summary");
}

/// Adds the reflection's options from their descriptions; guidance_inverse becomes --guidance-inverse.
void add_pair_options(CLI::App& command, CollectArguments& args) {
  for (const OptionDescription& o : describe_options<NoisePairOptions>()) {
    std::string flag = "--" + o.name;
    std::replace(flag.begin(), flag.end(), '_', '-');
    const std::string choices = o.choices.empty() ? "" : fmt::format(": {}", joined_text(o.choices, ", "));
    const std::string fallback = o.default_value.empty() ? "" : fmt::format(" [{}]", o.default_value);
    command.add_option_function<std::string>(
        flag, [&args, name = o.name](const std::string& text) { args.pair_options[name] = text; },
        o.help + choices + fallback);
  }
}

NoisePairOptions pair_options(const CollectArguments& args) {
  OptionValues values;
  for (const auto& [name, text] : args.pair_options) values.emplace(name, text);
  return read_options<NoisePairOptions>("noise-pairs", values);
}

}  // namespace

void add_collect(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("collect", "Collect training data from a model's own runs");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  glint collect trajectories \"red apple\" --count 8 -o apples\n"
      "  glint collect trajectories --prompts prompts.txt --guidance 4 -o trajectories\n"
      "  glint collect noise-pairs --prompts prompts.txt --guidance-inverse 0 -o pairs");
  const auto add = [&](const char* name, const char* what, Collect run) {
    auto args = std::make_shared<CollectArguments>();
    args->request.generate.prompts.clear();
    CLI::App* kind = command->add_subcommand(name, what);
    add_options(*kind, *args);
    kind->callback([args, run, &exit_code] { exit_code = collect(*args, run); });
    return std::pair(kind, args);
  };
  add("trajectories", "Predictions with and without the prompt along sampling, for CoRe2's weak network",
      [](const Pipeline& pipeline, const CollectArguments& args) {
        return collect_trajectories(pipeline, args.request);
      });
  const auto [pairs, args] =
      add("noise-pairs", "Noises and reflected ones that the scorer prefers, for a golden-noise network",
          [](const Pipeline& pipeline, const CollectArguments& a) {
            return collect_noise_pairs(pipeline, a.request, pair_options(a));
          });
  add_pair_options(*pairs, *args);
}

}  // namespace glint::cli
