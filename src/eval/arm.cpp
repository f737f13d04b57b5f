#include <glint/core/error.hpp>
#include <glint/eval/arm.hpp>
#include <glint/io/lines.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace glint {
namespace {

constexpr std::string_view kJoin = " + ";
constexpr std::string_view kPlain = "plain";

/// What `plain` can set.
struct PlainOptions {
  std::optional<int> steps = {};
  std::optional<double> guidance = {};

  static void fields(auto& visit, auto& o) {
    visit("steps", o.steps, Field{.help = "steps of the solver", .minimum = 1, .maximum = 1e6});
    visit("guidance", o.guidance, Field{.help = "guidance scale", .minimum = -100, .maximum = 1000});
  }
};

std::string text_of(const Choice& choice) {
  std::string text = choice.name;
  char separator = ':';
  for (const auto& [name, value] : choice.options) {
    text += fmt::format("{}{}={}", separator, name, detail::text_of(value));
    separator = ',';
  }
  return text;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t";
  const size_t first = text.find_first_not_of(kBlank);
  return first == text.npos ? "" : text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::vector<std::string_view> parts_of(std::string_view line) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; (at = line.find(kJoin)) != line.npos; line.remove_prefix(at + kJoin.size()))
    parts.push_back(trimmed(line.substr(0, at)));
  parts.push_back(trimmed(line));
  return parts;
}

/// Classifier-free guidance with nothing but a scale is plain sampling at that scale, so that an evaluation
/// samples it once.
void simplify(Arm& arm) {
  if (arm.methods.size() != 1 || arm.methods.front().name != "cfg" || arm.guidance) return;
  const OptionValues& options = arm.methods.front().options;
  if (options.size() > 1 || (options.size() == 1 && !options.contains("scale"))) return;
  if (options.size() == 1) {
    const std::optional<double> scale = detail::number_in(options.at("scale"));
    if (!scale) return;
    arm.guidance = scale;
  }
  arm.methods.clear();
}

/// Reads one of a file's lines. Errors start with the file and the line.
template <typename Read>
auto located(const std::filesystem::path& path, const TextLine& line, Read&& read) {
  try {
    return read();
  } catch (const Error& error) {
    fail(error.code(), "{}: line {}: {}", path.string(), line.number, error.what());
  }
}

}  // namespace

std::string Arm::key() const {
  std::vector<std::string> parts;
  for (const Choice& method : methods) parts.push_back(text_of(method));
  if (solver) parts.push_back("solver=" + text_of(*solver));
  if (steps) parts.push_back(fmt::format("steps={}", *steps));
  if (guidance) parts.push_back(fmt::format("guidance={}", *guidance));
  if (candidates > 1) parts.push_back(fmt::format("candidates={} by {}", candidates, selector));
  return parts.empty() ? std::string(kPlain) : joined_text(parts, kJoin);
}

GenerateRequest with_arm(GenerateRequest request, const Arm& arm, const Registry& registry) {
  request.with.assign(arm.methods.begin(), arm.methods.end());
  if (arm.solver) request.solver = arm.solver;
  if (arm.steps) request.steps = arm.steps;
  for (const Choice& method : arm.methods) {
    const Registry::Entry& entry = registry.entry(method.name);
    const bool scaled = std::any_of(entry.options.begin(), entry.options.end(),
                                    [](const OptionDescription& o) { return o.name == "scale"; });
    if (entry.info.kind == "rule" && (!scaled || method.options.contains("scale"))) request.guidance.reset();
  }
  if (arm.solver && registry.entry(arm.solver->name).info.guidance) request.guidance.reset();
  if (arm.guidance) request.guidance = arm.guidance;
  return request;
}

bool changes_attention(const Arm& arm, const Registry& registry) {
  return std::any_of(arm.methods.begin(), arm.methods.end(), [&](const Choice& method) {
    return registry.entry(method.name).changes_attention();
  });
}

Arm parse_arm(std::string_view line, const Registry& registry) {
  Arm arm;
  std::vector<std::string> names;
  for (const std::string_view part : parts_of(line)) {
    const Choice choice = parse_choice(part);
    names.push_back(text_of(choice));
    if (choice.name == kPlain) {
      const auto plain = read_options<PlainOptions>(kPlain, choice.options);
      GLINT_CHECK(!arm.steps && !arm.guidance, InvalidArgument, "plain: expected once, got '{}'", line);
      arm.steps = plain.steps;
      arm.guidance = plain.guidance;
    } else if (registry.entry(choice.name).info.kind == "solver") {
      GLINT_CHECK(!arm.solver, InvalidArgument, "solver: expected one at most, got '{}' and '{}'",
                  arm.solver->name, choice.name);
      arm.solver = choice;
    } else {
      arm.methods.push_back(choice);
    }
  }
  arm.name = joined_text(names, kJoin);
  simplify(arm);
  return arm;
}

std::vector<Arm> read_arms(const std::filesystem::path& path, const Registry& registry) {
  std::vector<Arm> arms;
  std::map<std::string, int64_t> lines;
  for (const TextLine& line : read_lines(path, "methods")) {
    if (line.text.starts_with('#')) continue;
    arms.push_back(located(path, line, [&] { return parse_arm(line.text, registry); }));
    const auto [same, added] = lines.emplace(arms.back().key(), line.number);
    GLINT_CHECK(added, InvalidArgument, "{}: line {}: '{}' repeats line {}", path.string(), line.number,
                arms.back().name, same->second);
  }
  GLINT_CHECK(!arms.empty(), InvalidArgument, "{}: expected methods, one per line, got comments only",
              path.string());
  return arms;
}

std::vector<std::string> read_prompts(const std::filesystem::path& path) {
  std::vector<std::string> prompts;
  std::map<std::string, int64_t> lines;
  for (const TextLine& line : read_lines(path, "prompts")) {
    const auto [same, added] = lines.emplace(line.text, line.number);
    GLINT_CHECK(added, InvalidArgument, "{}: line {}: '{}' repeats line {}", path.string(), line.number,
                line.text, same->second);
    prompts.push_back(line.text);
  }
  return prompts;
}

std::vector<std::string> choosing_scorers(const Arm& arm, const Registry& registry) {
  std::vector<std::string> scorers;
  if (!arm.selector.empty()) scorers.push_back(arm.selector);
  for (const Choice& method : arm.methods)
    for (const OptionDescription& option : registry.entry(method.name).options) {
      if (option.name != "scorer") continue;
      const auto given = method.options.find("scorer");
      scorers.push_back(given == method.options.end() ? option.default_value
                                                      : detail::text_of(given->second));
    }
  return scorers;
}

}  // namespace glint
