// Declarations shared by the program's commands.
#pragma once

#include <glint/bundle/bundle.hpp>
#include <glint/catalog/option_values.hpp>
#include <glint/pipeline/request.hpp>

#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace glint::cli {

/// Exit codes of the program: bad usage is what other arguments would mend, failed is everything else. A run
/// that a signal cancelled exits with 128 and its number, as shells say it: 130 after Ctrl-C.
enum Exit { kOk = 0, kFailed = 1, kBadUsage = 2, kCancelled = 130 };

/// Runs the program on a command line, and returns its exit code.
int program(int argc, char** argv);

/// Adds the commands: all of them in main.cpp, and in module.cpp those that run there.
void add_commands(CLI::App& app, int& exit_code);

/// Each adds one command to the program, which stores its exit code in `exit_code`.
void add_collect(CLI::App& app, int& exit_code);
void add_compare(CLI::App& app, int& exit_code);
void add_eval(CLI::App& app, int& exit_code);
void add_generate(CLI::App& app, int& exit_code);
void add_list(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);

/// Returns the folders searched for models by name: GLINT_MODELS, then beside the program.
std::vector<std::filesystem::path> model_folders();

/// Returns the bundle folder for a path or for a name in model_folders().
/// Errors: NotFound listing the available models.
std::filesystem::path find_model(const std::string& name_or_path);

/// Which model to load, and how far to trust it.
struct ModelArguments {
  std::string name = "emoji-flow", device = "cpu", dtype;
  std::string trust;          ///< "", code or none
  std::string sha256;         ///< of model.json, if it is to be a certain one
  bool named = false;         ///< the user gave the name
  bool pack = true;           ///< LoadOptions::pack
  double memory_limit = 0.0;  ///< LoadOptions::memory_limit in MiB
};

/// Adds --model, --device, --dtype, --pack, --trust and --sha256.
void add_model_options(CLI::App& command, ModelArguments& args);

/// Opens the model. Says so, unless `quiet` or told to trust it, when it is from none of model_folders() and
/// runs code of its own.
Bundle open_model(const ModelArguments& args, bool attention, bool quiet);

/// Logs the library's warnings; for LoadOptions::warn.
void warn(const std::string& message);

/// Returns the names of the bundles in model_folders().
std::vector<std::string> model_names();

/// Adds what all commands that sample take alike: --negative, --steps, --guidance, --solver, --schedule,
/// --width, --height, --threads and what a run changes about its prompts.
void add_request_options(CLI::App& command, GenerateRequest& request, std::string& solver,
                         std::string& schedule, int& threads);

/// Returns the option of a field: --prompt-2 for prompt_2.
std::string option_of(std::string_view field);

/// Checks the names and options of a solver, a schedule and methods, each as it was given; "" is none.
void check_choices(const std::string& solver, const std::string& schedule,
                   const std::vector<std::string>& methods);

/// Parses `--schedule`: [NAME][:key=value,...], where NAME is a Spacing or a Sigmas value.
OptionValues schedule_options(const std::string& text);

/// Returns the versions of the program and of the libraries that affect its results.
nlohmann::ordered_json versions();

}  // namespace glint::cli
