// What the program's commands share.
#pragma once

#include <glint/catalog/option_values.hpp>

#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace glint::cli {

/// Exit codes of the program.
enum Exit { kOk = 0, kFailed = 1, kBadUsage = 2, kCancelled = 130 };

/// Each adds one command to the program and stores the exit code it ends with.
void add_collect(CLI::App& app, int& exit_code);
void add_generate(CLI::App& app, int& exit_code);
void add_list(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);

/// Returns the folders in which a model is looked for by name: GLINT_MODELS, then beside the program.
std::vector<std::filesystem::path> model_folders();

/// Returns the bundle folder of a path or of a name in model_folders().
/// Errors: NotFound naming the models there are.
std::filesystem::path find_model(const std::string& name_or_path);

/// Logs a warning of the library, as LoadOptions::warn.
void warn(const std::string& message);

/// Returns the names of the bundles in model_folders().
std::vector<std::string> model_names();

/// Returns `--schedule`: [NAME][:key=value,...] where NAME is a spacing or a spread of sigmas.
OptionValues schedule_options(const std::string& text);

/// Returns versions of the program and of the libraries that decide its results.
nlohmann::ordered_json versions();

}  // namespace glint::cli
