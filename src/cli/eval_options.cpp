// The options of glint eval.
#include "cli/eval.hpp"

#include <memory>

namespace glint::cli {
namespace {

void add_eval_options(CLI::App& command, EvalArguments& args) {
  EvalRequest& r = args.request;
  GenerateRequest& g = r.generate;
  command.add_option("--prompts", args.prompt_file, "text file with one prompt per line")->required();
  command.add_option("--methods", args.method_file,
                     "text file with one method per line: NAME[:key=value,...], or several joined by ' + '; "
                     "lines that start with # are comments");
  command.add_option("--with", args.with, "a method as in such a file; may be repeated")
      ->allow_extra_args(false);
  command
      .add_option("--output,-o,--out", r.folder,
                  "folder to write into; an evaluation begun there is continued")
      ->required();
  command.add_option("--seeds", r.seeds, "initial noises per prompt")->capture_default_str();
  command
      .add_option("--scorer", r.scorers,
                  "component of the model, or file or folder, that judges; may be repeated")
      ->allow_extra_args(false)
      ->default_str(joined_text(r.scorers, " "));
  command
      .add_option("--curve", r.curve, "guidance scales at which plain sampling is evaluated too, as 1,2,4")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      .add_option(
          "--measured", r.measured,
          "pairs on which guidance scales are measured, which costs 2 rows a step; 0 = no matched guidance")
      ->capture_default_str();
  command
      .add_option("--patience", r.share.patience,
                  "s to wait for another process of the evaluation that does not run")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command.add_option("--pictures", r.pictures, "pairs whose pictures the report shows")
      ->capture_default_str();
  add_model_options(command, args.model);
  add_request_options(command, g, args.solver, args.schedule, args.threads);
  command.add_option("--seed", g.seed, "picture i of an arm is drawn with seed + i")->capture_default_str();
  command.add_option("--batch", g.batch, "pictures sampled at once")->capture_default_str();
}

}  // namespace

void add_eval(CLI::App& app, int& exit_code) {
  auto args = std::make_shared<EvalArguments>();
  CLI::App* command =
      app.add_subcommand("eval", "Measure methods against plain sampling of the same guidance and cost");
  add_eval_options(*command, *args);
  command->add_flag("--json", args->json, "print one JSON object about the run");
  command->add_flag("--quiet,-q", args->quiet, "no progress, no table");
  command->footer(
      "Processes that are started with RANK and WORLD_SIZE, as torchrun does, share one folder and its "
      "work.\n"
      "Examples:\n"
      "  glint eval --prompts prompts.txt --methods methods.txt --seeds 2 -o evaluation\n"
      "  glint eval --prompts prompts.txt --with z-sampling --with \"apg + interval\" -o evaluation");
  command->callback([args, &exit_code] { exit_code = eval(*args); });
}

}  // namespace glint::cli
