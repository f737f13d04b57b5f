#include "cli/cli.hpp"

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

}  // namespace glint::cli
