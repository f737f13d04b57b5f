// glint list: every solver, rule, strategy and model, with options, cost and source.
#include "cli/cli.hpp"

#include <glint/core/parameterization.hpp>
#include <glint/bundle/manifest.hpp>
#include <glint/catalog/registry.hpp>

#include <fmt/ranges.h>

#include <cmath>
#include <iostream>
#include <memory>

namespace glint::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string range_of(const OptionDescription& o) {
  if (!o.choices.empty()) return fmt::format("{}", fmt::join(o.choices, "|"));
  if (std::isinf(o.minimum) && std::isinf(o.maximum)) return "";
  return fmt::format("[{}, {}]", o.minimum, o.maximum);
}

Json default_of(const OptionDescription& o) {
  if (o.default_value.empty()) return nullptr;
  return o.type == "choice" || o.type == "text" ? Json(o.default_value) : Json::parse(o.default_value);
}

Json to_json(const Registry::Entry& entry) {
  Json options = Json::array();
  for (const OptionDescription& o : entry.options)
    options.push_back({{"name", o.name},
                       {"type", o.type},
                       {"default", default_of(o)},
                       {"unit", o.unit},
                       {"range", range_of(o)},
                       {"help", o.help}});
  return {{"kind", entry.info.kind}, {"name", entry.info.name}, {"summary", entry.info.summary},
          {"options", options},      {"cost", entry.info.cost}, {"source", entry.info.source}};
}

/// What a model is and defaults to; a bundle that cannot be read says why and hides none of the others.
std::string summary_of(const std::string& name) {
  try {
    const Manifest m = read_manifest(find_model(name));
    return fmt::format("{} model, predicts {} of {} noise, {} steps, guidance {}", m.family,
                       enum_name(m.parameterization), enum_name(m.schedule.kind),
                       m.default_steps.value_or(20), m.guidance.default_scale);
  } catch (const Error& error) {
    return error.what();
  }
}

Json model_json(const std::string& name) {
  return {{"kind", "model"},          {"name", name}, {"summary", summary_of(name)},
          {"options", Json::array()}, {"cost", ""},   {"source", "model bundle"}};
}

void print(const Registry::Entry& entry) {
  fmt::print("{} {}\n    {}\n    cost:   {}\n    source: {}\n", entry.info.kind, entry.info.name,
             entry.info.summary, entry.info.cost, entry.info.source);
  for (const OptionDescription& o : entry.options)
    fmt::print("    {:18} {:14} {}{}{}\n", o.name, o.default_value.empty() ? "(unset)" : o.default_value,
               o.help, o.unit.empty() ? "" : " (" + o.unit + ")",
               range_of(o).empty() ? "" : ", " + range_of(o));
}

struct ListArguments {
  std::string kind;
  bool json = false;
};

int list(const ListArguments& args) {
  const auto wanted = [&](std::string_view kind) { return args.kind.empty() || args.kind == kind; };
  Json all = Json::array();
  for (const Registry::Entry& entry : builtins().entries()) {
    if (!wanted(entry.info.kind)) continue;
    if (args.json) {
      all.push_back(to_json(entry));
    } else {
      print(entry);
    }
  }
  if (wanted("model")) {
    for (const std::string& name : model_names()) {
      if (args.json) {
        all.push_back(model_json(name));
      } else {
        fmt::print("model {}\n    {}\n", name, summary_of(name));
      }
    }
  }
  if (args.json) std::cout << all.dump(2) << '\n';
  return kOk;
}

}  // namespace

void add_list(CLI::App& app, int& exit_code) {
  auto args = std::make_shared<ListArguments>();
  CLI::App* command =
      app.add_subcommand("list", "List rules, solvers, strategies and models with their options");
  command->add_option("kind", args->kind, "only this kind")
      ->check(CLI::IsMember({"rule", "filter", "solver", "step", "noise", "attention", "model"}));
  command->add_flag("--json", args->json, "print a JSON array");
  command->callback([args, &exit_code] { exit_code = list(*args); });
}

}  // namespace glint::cli
