#include "cli/cli.hpp"

#include <glint/catalog/registry.hpp>
#include <glint/core/nearest.hpp>
#include <glint/core/schedule_options.hpp>

#include <algorithm>

namespace glint::cli {

OptionValues schedule_options(const std::string& text) {
  if (text.empty()) return {};
  // A name is optional: "sigmas=karras,rho=5" is ":sigmas=karras,rho=5".
  const bool options_only = text.find('=') < text.find(':');
  Choice choice = parse_choice(options_only          ? "default:" + text
                               : text.front() == ':' ? "default" + text
                                                     : text);
  const auto is_value = [&](const auto& values) {
    return std::find(values.begin(), values.end(), choice.name) != values.end();
  };
  const auto add = [&](const char* option) {
    GLINT_CHECK(choice.options.emplace(option, choice.name).second, InvalidArgument,
                "--schedule: '{}' says what {} is; expected no {} beside it", choice.name, option, option);
  };
  if (is_value(EnumNames<Spacing>::values)) {
    add("spacing");
  } else if (is_value(EnumNames<Sigmas>::values)) {
    add("sigmas");
  } else {
    std::vector<std::string> known{"default"};
    known.insert(known.end(), EnumNames<Spacing>::values.begin(), EnumNames<Spacing>::values.end());
    known.insert(known.end(), EnumNames<Sigmas>::values.begin(), EnumNames<Sigmas>::values.end());
    GLINT_CHECK(choice.name == "default", InvalidArgument, "unknown schedule '{}'{} (known: {})", choice.name,
                did_you_mean(choice.name, known), joined_text(known, ", "));
  }
  return choice.options;
}

void check_choices(const std::string& solver, const std::string& schedule,
                   const std::vector<std::string>& methods) {
  if (!solver.empty()) builtins().solver(parse_choice(solver));
  schedule_options(schedule);
  for (const std::string& method : methods) builtins().check(parse_choice(method));
}

std::string option_of(std::string_view field) {
  std::string option = "--" + std::string(field);
  std::replace(option.begin(), option.end(), '_', '-');
  return option;
}

void add_request_options(CLI::App& command, GenerateRequest& request, std::string& solver,
                         std::string& schedule, int& threads) {
  command.add_option("--negative", request.negative, "what to steer away from");
  command.add_option("--steps", request.steps, "steps of the solver; default: the model's");
  command.add_option("--guidance", request.guidance,
                     "guidance scale, 1 and less is off; default: the model's");
  command.add_option("--solver", solver, "NAME[:key=value,...]; default: the model's");
  command.add_option(
      "--schedule", schedule,
      "leading, trailing, linspace, karras, exponential, lu or beta, then [:key=value,...]: spacing, sigmas, "
      "rho, steps_offset, terminal, sigma_min, sigma_max, shift");
  for (const PromptField& field : prompt_fields()) {
    const std::string name(field.name);
    command.add_option_function<std::string>(
        option_of(field.name),
        [&request, name](const std::string& text) { set_prompt_field(request.text, name, text); },
        std::string(field.help));
  }
  command.add_option("--width", request.width, "px; default: the model's");
  command.add_option("--height", request.height, "px; default: the model's");
  command.add_option("--threads", threads, "CPU threads; default: all")->check(CLI::Range(1, 1024));
}

}  // namespace glint::cli
