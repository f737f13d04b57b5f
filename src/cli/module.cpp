#include "cli/module.hpp"
#include "cli/cli.hpp"
#include "cli/terminal.hpp"

namespace glint::cli {

void add_commands(CLI::App& app, int& exit_code) {
  add_generate(app, exit_code);
  add_compare(app, exit_code);
  add_eval(app, exit_code);
  add_collect(app, exit_code);
  add_inspect(app, exit_code);
}

}  // namespace glint::cli

extern "C" [[gnu::visibility("default")]] int glint_program(int argc, char** argv, int standard_output) {
  glint::cli::adopt_standard_output(standard_output);
  glint::cli::start_log();
  return glint::cli::program(argc, argv);
}
