// What is started: reads the command line and answers what needs no network. Only then is the rest of the
// program loaded, module.cpp, since libtorch alone takes 0.35 s of a processor to load.
#include "cli/collect.hpp"
#include "cli/compare.hpp"
#include "cli/eval.hpp"
#include "cli/generate.hpp"
#include "cli/inspect.hpp"
#include "cli/module.hpp"
#include "cli/terminal.hpp"

#include <glint/core/error.hpp>

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

namespace glint::cli {
namespace {

namespace fs = std::filesystem;

int argument_count = 0;
char** arguments = nullptr;
void* module = nullptr;

/// Returns the module's file: beside the program in the build tree, among the libraries once installed.
fs::path module_file() {
  std::error_code ignored;
  const fs::path folder = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  fs::path file = folder / GLINT_MODULE;
  return fs::exists(file, ignored) ? file : folder / ".." / GLINT_LIBRARIES / GLINT_MODULE;
}

/// Runs the command line in the module.
int run_in_module() {
  // OpenMP threads sleep while they wait, unless the user chose otherwise. By default they spin, so if
  // another process holds a core, each barrier of a small network costs a time slice: 2 s became 40 s on a
  // busy 2-core machine. OpenMP reads this when it is loaded.
  ::setenv("OMP_WAIT_POLICY", "passive", 0);
  const std::string file = module_file().string();
  module = ::dlopen(file.c_str(), RTLD_LAZY);
  GLINT_CHECK(module, Io, "cannot load the rest of the program: {}", ::dlerror());
  const auto entry = reinterpret_cast<ModuleEntry>(::dlsym(module, kModuleEntry));
  GLINT_CHECK(entry, Io, "{}: not of this program: {}", file, ::dlerror());
  return entry(argument_count, arguments, standard_output());
}

/// Ends the process. What was written is written; libtorch's destructors would take its thousands of
/// operators out of their tables one by one, half the time that loading it took.
[[noreturn]] void leave(int exit_code) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they report at the exit
  if (module) {
    std::fflush(nullptr);
    std::_Exit(exit_code);
  }
#endif
  std::exit(exit_code);
}

}  // namespace

void add_commands(CLI::App& app, int& exit_code) {
  add_generate(app, exit_code);
  add_compare(app, exit_code);
  add_eval(app, exit_code);
  add_collect(app, exit_code);
  add_list(app, exit_code);
  add_inspect(app, exit_code);
}

int generate(GenerateArguments& args) {
  if (args.from.empty()) {
    GLINT_CHECK(!args.prompts.empty() || !args.prompt_file.empty() || !args.cond_in.empty(), InvalidArgument,
                "prompt: expected one, got none (\"\" is the empty prompt)");
    check_choices(args.solver, args.schedule, args.with);
    find_model(args.model.name);
  }
  return run_in_module();
}

int compare(CompareArguments& args) {
  check_choices(args.solver, args.schedule, {});
  find_model(args.model.name);
  return run_in_module();
}

int eval(EvalArguments& args) {
  check_choices(args.solver, args.schedule, {});
  return run_in_module();
}

int collect(CollectArguments& args) {
  check_choices(args.solver, args.schedule, {});
  find_model(args.model.name);
  return run_in_module();
}

int inspect(InspectArguments& args) {
  find_model(args.model.name);
  return run_in_module();
}

}  // namespace glint::cli

int main(int argc, char** argv) {
  namespace cli = glint::cli;
  cli::argument_count = argc;
  cli::arguments = argv;
  cli::own_standard_output();
  cli::start_log();
  cli::leave(cli::program(argc, argv));
}
