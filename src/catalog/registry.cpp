#include "io/json.hpp"

#include <glint/catalog/registry.hpp>

namespace glint {
namespace {

constexpr std::array<std::string_view, 6> kKinds{"rule", "filter", "solver", "step", "noise", "attention"};

/// What a kind is called in messages.
std::string label(std::string_view kind) {
  if (kind == "attention") return "attention policy";
  return kind == "step" || kind == "noise" ? fmt::format("{} strategy", kind) : std::string(kind);
}

size_t rank(std::string_view kind) {
  const auto found = std::find(kKinds.begin(), kKinds.end(), kind);
  GLINT_CHECK(found != kKinds.end(), InvalidArgument,
              "kind: expected rule, filter, solver, step, noise or attention, got '{}'", kind);
  return static_cast<size_t>(found - kKinds.begin());
}

}  // namespace

Choice parse_choice(std::string_view text) {
  const size_t colon = text.find(':');
  Choice choice{.name = std::string(text.substr(0, colon))};
  GLINT_CHECK(!choice.name.empty(), InvalidArgument, "'{}': expected NAME[:key=value,...], got no name",
              text);
  if (colon == std::string_view::npos) return choice;
  std::string_view rest = text.substr(colon + 1);
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(item.size() + 1, rest.size()));
    const size_t equals = item.find('=');
    GLINT_CHECK(equals != std::string_view::npos && equals > 0, InvalidArgument,
                "{}: expected key=value, got '{}'", choice.name, item);
    const auto [at, fresh] =
        choice.options.emplace(std::string(item.substr(0, equals)), std::string(item.substr(equals + 1)));
    GLINT_CHECK(fresh, InvalidArgument, "{}: option '{}' is given twice", choice.name, at->first);
  }
  return choice;
}

OptionValues parse_options(std::string_view json) {
  const nlohmann::json document = [json] {
    try {
      return detail::parse_json(json, "options");
    } catch (const Error& error) {
      throw Error(ErrorCode::InvalidArgument, error.what());  // an argument, not a bundle's file
    }
  }();
  GLINT_CHECK(document.is_object(), InvalidArgument, "options: expected a JSON object, got {}",
              detail::describe(document));
  OptionValues values;
  for (const auto& [name, value] : document.items()) {
    if (value.is_boolean()) {
      values.emplace(name, value.get<bool>());
    } else if (value.is_number()) {
      values.emplace(name, value.get<double>());
    } else {
      GLINT_CHECK(value.is_string(), InvalidArgument,
                  "options.{}: expected a number, string or boolean, got {}", name, detail::describe(value));
      values.emplace(name, value.get<std::string>());
    }
  }
  return values;
}

void Registry::add(Entry entry) {
  const size_t kind = rank(entry.info.kind);
  for (const Entry& known : entries_)
    GLINT_CHECK(known.info.name != entry.info.name, InvalidArgument, "{} '{}': the name is taken by a {}",
                entry.info.kind, entry.info.name, known.info.kind);
  const auto place = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& e) { return rank(e.info.kind) > kind; });
  entries_.insert(place, std::move(entry));
}

const Registry::Entry& Registry::entry(std::string_view kind, std::string_view name) const {
  std::vector<std::string> names;
  for (const Entry& e : entries_) {
    if (e.info.name == name) {
      GLINT_CHECK(e.info.kind == kind, InvalidArgument, "'{}' is a {}, not a {}", name, label(e.info.kind),
                  label(kind));
      return e;
    }
    if (e.info.kind == kind) names.emplace_back(e.info.name);
  }
  fail(ErrorCode::InvalidArgument, "unknown {} '{}'{} (known: {})", label(kind), name,
       did_you_mean(name, names),
       names.empty() ? "none in this version" : fmt::format("{}", fmt::join(names, ", ")));
}

std::shared_ptr<const GuidanceRule> Registry::rule(const Choice& c, const BuildContext& context) const {
  return std::get<std::shared_ptr<const GuidanceRule>>(entry("rule", c.name).make(c.options, context));
}
std::shared_ptr<const Solver> Registry::solver(const Choice& c, const BuildContext& context) const {
  return std::get<std::shared_ptr<const Solver>>(entry("solver", c.name).make(c.options, context));
}
std::shared_ptr<const StepStrategy> Registry::step(const Choice& c, const BuildContext& context) const {
  return std::get<std::shared_ptr<const StepStrategy>>(entry("step", c.name).make(c.options, context));
}
std::shared_ptr<const NoiseStrategy> Registry::noise(const Choice& c, const BuildContext& context) const {
  return std::get<std::shared_ptr<const NoiseStrategy>>(entry("noise", c.name).make(c.options, context));
}
RuleFilter Registry::filter(const Choice& c, const BuildContext& context) const {
  return std::get<RuleFilter>(entry("filter", c.name).make(c.options, context));
}
std::shared_ptr<const AttentionPolicy> Registry::attention(const Choice& c,
                                                           const BuildContext& context) const {
  return std::get<std::shared_ptr<const AttentionPolicy>>(
      entry("attention", c.name).make(c.options, context));
}

}  // namespace glint
