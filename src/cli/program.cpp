// Reads the command line and runs the command; errors and exit codes are handled here.
#include "cli/cli.hpp"
#include "cli/terminal.hpp"

#include <glint/core/error.hpp>
#include <glint/core/nearest.hpp>
#include <glint/version.hpp>

#include <fmt/format.h>
#include <charconv>
#include <exception>
#include <limits>
#include <new>
#include <sstream>
#include <string>
#include <system_error>

namespace {

using namespace glint;

int exit_code_of(const Error& error) {
  if (error.code() == ErrorCode::Cancelled) return cli::kCancelled;
  return error.code() == ErrorCode::InvalidArgument ? cli::kBadUsage : cli::kFailed;
}

/// Gives a better message than CLI11, which only says that a command is required.
void check_command(const CLI::App& app, int argc, char** argv) {
  const CLI::App* group = &app;
  for (int i = 1; i < argc && argv[i][0] != '-'; ++i) {
    std::vector<std::string> names;
    for (const CLI::App* command : group->get_subcommands([](const CLI::App*) { return true; }))
      names.push_back(command->get_name());
    if (names.empty()) return;
    GLINT_CHECK(std::find(names.begin(), names.end(), argv[i]) != names.end(), InvalidArgument,
                "unknown command '{}'{}", argv[i], did_you_mean(argv[i], names));
    group = group->get_subcommand(argv[i]);
  }
}

/// Returns the message for unrecognised arguments, with the nearest option.
std::string unknown_argument(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  std::vector<std::string> names;
  for (const CLI::Option* option : command->get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  const std::string given = app.remaining(true).front();
  const std::string name = given.substr(0, given.find('='));
  return fmt::format("unknown argument '{}'{}", name, did_you_mean(name, names));
}

/// Rejects text that is not entirely a `Value`, and passes CLI11 the plain decimal form otherwise: on its own
/// CLI11 reads 010 as 8 and -1 as the largest unsigned number, and does not say what it expected.
template <typename Value>
CLI::Validator reads_as(std::string what) {
  const auto read = [what = std::move(what)](std::string& given) {
    Value value{};
    const char* end = given.data() + given.size();
    const std::from_chars_result parsed = std::from_chars(given.data(), end, value);
    if (parsed.ec == std::errc::result_out_of_range)
      return fmt::format("expected {} up to {}, got '{}'", what, std::numeric_limits<Value>::max(), given);
    if (parsed.ec != std::errc{} || parsed.ptr != end)
      return fmt::format("expected {}, got '{}'", what, given);
    given = fmt::to_string(value);
    return std::string();
  };
  return CLI::Validator(read, "");
}

void read_numbers_strictly(CLI::App& command) {
  for (CLI::Option* option : command.get_options()) {
    const std::string type = option->get_type_name();
    if (type.starts_with("FLOAT")) option->transform(reads_as<double>("a number"));
    if (type.starts_with("INT")) option->transform(reads_as<int32_t>("an integer"));
    if (type.starts_with("UINT")) option->transform(reads_as<uint64_t>("an integer of at least 0"));
  }
  for (CLI::App* inner : command.get_subcommands([](const CLI::App*) { return true; }))
    read_numbers_strictly(*inner);
}

std::string version_line() {
  return fmt::format("glint {} (torch {})", version(), cli::versions().at("torch").get<std::string>());
}

int print_version(int argc, char** argv) {
  const bool json = argc == 3 && std::string_view(argv[2]) == "--json";
  GLINT_CHECK(argc == 2 || json, InvalidArgument, "--version: unknown argument '{}'; expected --json",
              argv[2]);
  if (json)
    cli::print_json(cli::versions(), -1);
  else
    cli::print("{}\n", version_line());
  return cli::kOk;
}

int run(int argc, char** argv) {
  CLI::App app{"glint makes diffusion and flow models sample better.", "glint"};
  app.set_version_flag(
      "--version", [] { return version_line(); },
      "print the version, with --json those of libraries too, and exit");
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  glint generate \"red apple\" -o apple.png\n"
      "  glint generate \"red apple\" --with z-sampling --steps 30\n"
      "  glint list z-sampling\n"
      "\n"
      "Run 'glint COMMAND --help' for a command's options, 'glint list' for models, methods and solvers.\n"
      "Exit codes: 0 done, 1 failed, 2 bad usage, 130 cancelled by Ctrl-C, 143 by SIGTERM.");
  int exit_code = cli::kOk;
  cli::add_commands(app, exit_code);
  read_numbers_strictly(app);
  if (argc == 1) {
    cli::print_text(app.help());
    return cli::kOk;
  }
  if (std::string_view(argv[1]) == "--version") return print_version(argc, argv);
  check_command(app, argc, argv);
  try {
    app.parse(argc, argv);
    return exit_code;
  } catch (const CLI::ExtrasError&) {
    spdlog::error("{}", unknown_argument(app));
    return cli::kBadUsage;
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    const int code = app.exit(error, out, err);
    cli::print_text(out.str());
    cli::say_text(err.str());
    return code == 0 ? cli::kOk : cli::kBadUsage;
  }
}

}  // namespace

int cli::program(int argc, char** argv) {
  int code = cli::kFailed;
  try {
    code = run(argc, argv);
  } catch (const Error& error) {
    spdlog::error("{}", error.what());
    code = exit_code_of(error);
  } catch (const std::bad_alloc&) {
    spdlog::error("out of memory; a smaller --batch, --width or --height needs less");
  } catch (const std::exception& error) {
    spdlog::error("{}", error.what());
  }
  try {
    cli::finish_output();
  } catch (const std::exception& error) {
    spdlog::error("{}", error.what());
    if (code == cli::kOk) code = cli::kFailed;
  }
  return code;
}
