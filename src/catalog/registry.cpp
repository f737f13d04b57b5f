#include <glint/catalog/registry.hpp>

#include <algorithm>
#include <array>

namespace glint {
namespace {

constexpr std::array<std::string_view, 8> kKinds{
    "rule", "filter", "solver", "step", "noise", "attention", "attention-guidance", "cache"};

/// Returns a kind's name for messages.
std::string label(std::string_view kind) {
  if (kind == "attention") return "attention policy";
  if (kind == "attention-guidance") return "attention guidance";
  return kind == "step" || kind == "noise" ? message("{} strategy", kind) : std::string(kind);
}

size_t rank(std::string_view kind) {
  const auto found = std::find(kKinds.begin(), kKinds.end(), kind);
  GLINT_CHECK(found != kKinds.end(), InvalidArgument, "kind: expected one of {}, got '{}'",
              joined_text(kKinds, ", "), kind);
  return static_cast<size_t>(found - kKinds.begin());
}

}  // namespace

void Registry::add(Entry entry) {
  const size_t kind = rank(entry.info.kind);
  for (const Entry& known : entries_)
    GLINT_CHECK(known.info.name != entry.info.name, InvalidArgument, "{} '{}': the name is taken by a {}",
                entry.info.kind, entry.info.name, known.info.kind);
  const auto place = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& e) { return rank(e.info.kind) > kind; });
  entries_.insert(place, std::move(entry));
}

const Registry::Entry& Registry::entry(std::string_view name, std::string_view kind) const {
  std::vector<std::string> names;
  for (const Entry& e : entries_) {
    if (e.info.name == name) {
      GLINT_CHECK(kind.empty() || e.info.kind == kind, InvalidArgument, "'{}' is a {}, not a {}", name,
                  label(e.info.kind), label(kind));
      return e;
    }
    if (kind.empty() || e.info.kind == kind) names.emplace_back(e.info.name);
  }
  fail(ErrorCode::InvalidArgument, "unknown {} '{}'{} (known: {})", kind.empty() ? "method" : label(kind),
       name, did_you_mean(name, names), names.empty() ? "none in this version" : joined_text(names, ", "));
}

Product Registry::make(const Choice& choice, const BuildContext& context) const {
  return entry(choice.name).make(choice.options, context);
}

void Registry::check(const Choice& choice) const {
  const Entry& known = entry(choice.name);
  if (known.check) known.check(known.info.name, choice.options);
}

template <typename T>
T Registry::made(std::string_view kind, const Choice& choice, const BuildContext& context) const {
  return std::get<T>(entry(choice.name, kind).make(choice.options, context));
}

std::shared_ptr<const GuidanceRule> Registry::rule(const Choice& c, const BuildContext& context) const {
  return made<std::shared_ptr<const GuidanceRule>>("rule", c, context);
}
std::shared_ptr<const GuidanceFilter> Registry::filter(const Choice& c, const BuildContext& context) const {
  return made<std::shared_ptr<const GuidanceFilter>>("filter", c, context);
}
std::shared_ptr<const Solver> Registry::solver(const Choice& c, const BuildContext& context) const {
  return made<std::shared_ptr<const Solver>>("solver", c, context);
}
StepMethod Registry::step(const Choice& c, const BuildContext& context) const {
  return made<StepMethod>("step", c, context);
}
std::shared_ptr<const NoiseStrategy> Registry::noise(const Choice& c, const BuildContext& context) const {
  return made<std::shared_ptr<const NoiseStrategy>>("noise", c, context);
}
AttentionPolicy Registry::attention(const Choice& c, const BuildContext& context) const {
  return made<AttentionPolicy>("attention", c, context);
}
NormalizedGuidance Registry::attention_guidance(const Choice& c, const BuildContext& context) const {
  return made<NormalizedGuidance>("attention-guidance", c, context);
}
std::shared_ptr<const StepCache> Registry::cache(const Choice& c, const BuildContext& context) const {
  return made<std::shared_ptr<const StepCache>>("cache", c, context);
}

}  // namespace glint
