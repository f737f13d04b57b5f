// The options of glint inspect.
#include "cli/inspect.hpp"

#include <memory>

namespace glint::cli {

void add_inspect(CLI::App& app, int& exit_code) {
  auto args = std::make_shared<InspectArguments>();
  CLI::App* command = app.add_subcommand("inspect", "Show what is in a model bundle and check its files");
  command->add_option("model", args->model.name, "folder of the bundle, or name of a model")->required();
  command->add_option("--attention", args->attention,
                      "run the network once and show its attention layers, and what this policy would gain: "
                      "pisa[:key=value,...] or isa[:...]; nothing else here runs it");
  command->add_option("--trust", args->model.trust, "for --attention; none: refuse to run the model's code")
      ->check(CLI::IsMember({"code", "none"}));
  command->add_flag("--json", args->json, "print a JSON object");
  command->footer(
      "Examples:\n"
      "  glint inspect emoji-flow\n"
      "  glint inspect path/to/bundle --json\n"
      "  glint inspect emoji-flow --attention pisa:density=0.25");
  command->callback([args, &exit_code] { exit_code = inspect(*args); });
}

}  // namespace glint::cli
