// The options of glint compare.
#include "cli/compare.hpp"

#include <memory>

namespace glint::cli {

void add_compare(CLI::App& app, int& exit_code) {
  auto args = std::make_shared<CompareArguments>();
  args->files.sheet = "compare.png";
  CLI::App* command =
      app.add_subcommand("compare", "Make one labelled sheet of several methods on the same seeds");
  GenerateRequest& r = args->request;
  r.count = 2;
  command->add_option("prompt", args->prompt, "what to draw")->required();
  command
      ->add_option("--with", args->with,
                   "a column: NAME[:key=value,...], or several joined by ' + '; 'plain:steps=40,guidance=2' "
                   "sets these; may be repeated. Plain sampling is the first column")
      ->allow_extra_args(false)
      ->required();
  add_model_options(*command, args->model);
  command->add_option("--output,-o", args->files.sheet, "PNG or WebP to write")->capture_default_str();
  command
      ->add_option("--scorer", args->scorers,
                   "component of the model, or file or folder, that rates the pictures; may be repeated; "
                   "default: the model's scorer, if it has one")
      ->allow_extra_args(false);
  command
      ->add_option("--enlarge", args->enlarge,
                   "make pictures this many times as large; default: large enough for their labels")
      ->check(CLI::Range(1, 64));
  add_request_options(*command, r, args->solver, args->schedule, args->threads);
  command->add_option("--seed", r.seed, "row k is drawn with seed + k")->capture_default_str();
  command->add_option("--count", r.count, "rows, each of one seed")->capture_default_str();
  command->add_option("--batch", r.batch, "pictures sampled at once")->capture_default_str();
  command->add_flag("--json", args->json, "print one JSON object about the run");
  command->add_flag("--quiet,-q", args->quiet, "no progress, no path");
  command->footer(
      "Examples:\n"
      "  glint compare \"red apple\" --with cfg:scale=5 --with z-sampling\n"
      "  glint compare \"blue heart\" --with \"z-sampling + rescale:phi=0.5\" --with plain:steps=60 --count "
      "3");
  command->callback([args, &exit_code] { exit_code = compare(*args); });
}

}  // namespace glint::cli
