// glint list: lists all solvers, rules, strategies and models, with options, cost and source.
#include "cli/cli.hpp"
#include "cli/terminal.hpp"

#include <glint/bundle/manifest.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/core/parameterization.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <utility>

namespace glint::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string range_of(const OptionDescription& o) {
  if (!o.choices.empty()) return joined_text(o.choices, "|");
  if (std::isinf(o.minimum) && std::isinf(o.maximum)) return "";
  return fmt::format("[{}, {}]", o.minimum, o.maximum);
}

Json default_of(const OptionDescription& o) {
  if (o.default_value.empty()) return nullptr;
  return o.type == "choice" || o.type == "text" ? Json(o.default_value) : Json::parse(o.default_value);
}

/// The list's headings, by what a user wants to achieve.
constexpr std::array<std::string_view, 3> kGroups{
    "Better pictures (--with)", "Fewer or cheaper evaluations (--with)", "Solvers (--solver)"};

std::string_view group_of(const EntryInfo& info) {
  if (info.kind == "solver") return kGroups[2];
  return kGroups[info.goal == Goal::Speed ? 1 : 0];
}

struct Finding {
  std::string_view name, words;
};
constexpr Finding kFindings[] = {
#include "cli/findings.inc"
};

/// Returns what was measured of a method on the bundled models; empty if nothing was.
std::string_view finding(std::string_view name) {
  for (const Finding& one : kFindings)
    if (one.name == name) return one.words;
  return {};
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
  return {{"kind", entry.info.kind},
          {"name", entry.info.name},
          {"summary", entry.info.summary},
          {"options", options},
          {"cost", entry.info.cost},
          {"source", entry.info.source},
          {"measured", finding(entry.info.name)}};
}

/// Summarises a model and its defaults. An unreadable bundle shows its error, so that the others still list.
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
  return {{"kind", "model"},
          {"name", name},
          {"summary", summary_of(name)},
          {"options", Json::array()},
          {"cost", ""},
          {"source", "model bundle"},
          {"measured", ""}};
}

/// The width of the output: the terminal's, but no more than is pleasant to read.
size_t width() {
  constexpr size_t kWidest = 100, kNarrowest = 20;
  return std::clamp(terminal_columns(standard_output(), kWidest), kNarrowest, kWidest);
}

/// Prints text wrapped at words, and lists of choices at their bars, indented by `indent` columns; the cursor
/// is already there.
void print_wrapped(std::string_view text, size_t indent) {
  const size_t room = width() - std::min(indent, width() - 1);
  size_t column = indent;
  bool glued = true;  // to what stands before it
  while (!text.empty()) {
    std::string_view word = text.substr(0, text.find(' '));
    const size_t bar = word.size() > room ? word.rfind('|', room - 1) : std::string_view::npos;
    const bool cut = bar != std::string_view::npos && bar + 1 < word.size();
    if (cut) word = word.substr(0, bar + 1);
    text.remove_prefix(std::min(text.size(), word.size() + (cut ? 0 : 1)));
    const size_t gap = glued ? 0 : 1;
    const bool fits = column + gap + word.size() <= width();
    if (column > indent && !fits) print("\n{:{}}", "", indent);
    if (column > indent && fits) print("{:{}}", "", gap);
    print("{}", word);
    column = (column > indent && fits ? column + gap : indent) + word.size();
    glued = cut;
  }
  print("\n");
}

void print_line(std::string_view name, std::string_view text) {
  const size_t kName = width() < 60 ? 4 : 26;  // a narrow terminal gets names on lines of their own
  print("  {:{}}", name, kName - 2);
  if (name.size() + 3 > kName) print("\n{:{}}", "", kName);
  print_wrapped(text, kName);
}

void print_entry(const Registry::Entry& entry) {
  print("{} ({})\n", entry.info.name, entry.info.kind);
  print_line("what", entry.info.summary);
  print_line("cost", entry.info.cost);
  print_line("source", entry.info.source);
  const std::string_view measured = finding(entry.info.name);
  print_line("measured", measured.empty() ? "not on the bundled models" : measured);
  if (!entry.options.empty()) print("options\n");
  for (const OptionDescription& o : entry.options) {
    std::string text = o.help;
    if (!o.unit.empty()) text += fmt::format(" ({})", o.unit);
    if (const std::string range = range_of(o); !range.empty()) text += ", " + range;
    print_line(fmt::format("{}={}", o.name, o.default_value.empty() ? "unset" : o.default_value), text);
  }
}

struct ListArguments {
  std::string what;
  bool json = false;
};

/// Returns the entries of a kind or name, or all.
std::vector<Registry::Entry> chosen(const std::string& what) {
  std::vector<Registry::Entry> entries;
  for (const Registry::Entry& entry : builtins().entries())
    if (what.empty() || entry.info.kind == what || entry.info.name == what) entries.push_back(entry);
  return entries;
}

int list(const ListArguments& args) {
  const std::vector<Registry::Entry> entries = chosen(args.what);
  std::vector<std::string> models = model_names();
  if (!args.what.empty() && args.what != "model")
    std::erase_if(models, [&](const std::string& name) { return name != args.what; });
  // Neither a kind nor a model: let the registry throw, with the nearest name.
  if (entries.empty() && models.empty() && args.what != "model") builtins().entry(args.what);
  if (args.json) {
    Json all = Json::array();
    for (const Registry::Entry& entry : entries) all.push_back(to_json(entry));
    for (const std::string& name : models) all.push_back(model_json(name));
    print_json(all);
    return kOk;
  }
  if (entries.size() == 1 && entries.front().info.name == args.what) {
    print_entry(entries.front());
    return kOk;
  }
  for (const std::string_view group : kGroups) {
    bool headed = false;
    for (const Registry::Entry& entry : entries) {
      if (group_of(entry.info) != group) continue;
      if (!std::exchange(headed, true)) print("{}\n", group);
      const std::string_view measured = finding(entry.info.name);
      print_line(entry.info.name, measured.empty() ? std::string(entry.info.summary)
                                                   : fmt::format("{} [{}]", entry.info.summary, measured));
    }
  }
  if (!models.empty()) print("Models (--model)\n");
  for (const std::string& name : models) print_line(name, summary_of(name));
  if (args.what.empty())
    print(
        "\nIn brackets: measured on the bundled models (docs/results.md, docs/caches.md).\n"
        "'glint list NAME' shows the options, cost and source of one.\n");
  return kOk;
}

}  // namespace

void add_list(CLI::App& app, int& exit_code) {
  auto args = std::make_shared<ListArguments>();
  CLI::App* command = app.add_subcommand("list", "List methods, solvers and models, or show one of them");
  command->add_option(
      "what", args->what,
      "a name, or a kind: rule, filter, step, noise, attention, attention-guidance, cache, solver or "
      "model; default: everything");
  command->add_flag("--json", args->json, "print a JSON array");
  command->footer(
      "Examples:\n"
      "  glint list\n"
      "  glint list z-sampling\n"
      "  glint list solver --json");
  command->callback([args, &exit_code] { exit_code = list(*args); });
}

}  // namespace glint::cli
