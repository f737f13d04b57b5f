// The options of glint collect.
#include "cli/collect.hpp"

#include <memory>

namespace glint::cli {
namespace {

void add_collect_options(CLI::App& command, CollectArguments& args) {
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
  command
      .add_option("--patience", r.share.patience,
                  "s to wait for another process of the collection that does not run")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
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
    const std::string choices = o.choices.empty() ? "" : fmt::format(": {}", joined_text(o.choices, ", "));
    const std::string fallback = o.default_value.empty() ? "" : fmt::format(" [{}]", o.default_value);
    command.add_option_function<std::string>(
        option_of(o.name),
        [&args, name = o.name](const std::string& text) { args.pair_options[name] = text; },
        o.help + choices + fallback);
  }
}

}  // namespace

void add_collect(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("collect", "Collect training data from a model's own runs");
  command->require_subcommand(1);
  command->footer(
      "Processes that are started with RANK and WORLD_SIZE, as torchrun does, share one folder and its "
      "work.\n"
      "Examples:\n"
      "  glint collect trajectories \"red apple\" --count 8 -o apples\n"
      "  glint collect trajectories --prompts prompts.txt --guidance 4 -o trajectories\n"
      "  glint collect noise-pairs --prompts prompts.txt --guidance-inverse 0 -o pairs");
  const auto add = [&](const char* name, const char* what, bool makes_pairs) {
    auto args = std::make_shared<CollectArguments>();
    args->pairs = makes_pairs;
    args->request.generate.prompts.clear();
    CLI::App* kind = command->add_subcommand(name, what);
    add_collect_options(*kind, *args);
    kind->callback([args, &exit_code] { exit_code = collect(*args); });
    return std::pair(kind, args);
  };
  add("trajectories", "Predictions with and without the prompt along sampling, for CoRe2's weak network",
      false);
  const auto [pairs, args] = add(
      "noise-pairs", "Noises and reflected ones that the scorer prefers, for a golden-noise network", true);
  add_pair_options(*pairs, *args);
}

}  // namespace glint::cli
