#include "lora/adapter_settings.hpp"

#include <glint/core/error.hpp>

#include <fmt/format.h>

#include <cmath>
#include <regex>

namespace glint::detail {
namespace {

using nlohmann::json;

/// Returns whether a pattern is for this layer, as PEFT says: a regular expression for the end of its name.
bool matches(const std::string& layer, const std::string& pattern, const char* patterns,
             const std::string& file) {
  if (layer == pattern || layer.ends_with("." + pattern)) return true;
  if (pattern.find_first_of("*+?[](){}|^$\\") == std::string::npos) return false;
  constexpr size_t kLongest = 200;  // the matcher recurses
  GLINT_CHECK(pattern.size() <= kLongest && layer.size() <= kLongest, BadModel,
              "{}: {}: expected at most {} characters in '{}' and in the layer '{}'", file, patterns,
              kLongest, pattern, layer);
  try {
    return std::regex_match(layer, std::regex("(.*\\.)?(" + pattern + ")"));
  } catch (const std::regex_error&) {
    fail(ErrorCode::BadModel, "{}: {}: '{}' is no regular expression", file, patterns, pattern);
  }
}

}  // namespace

AdapterSettings::AdapterSettings(const Metadata& metadata, const std::string& config,
                                 const std::string& file) {
  const auto found = metadata.find("lora_adapter_metadata");
  if (!config.empty()) {
    read(config, kAdapterConfig, file);
    const json* kind = value("", "peft_type");
    GLINT_CHECK(!kind || *kind == "LORA" || *kind == "LOHA" || *kind == "LOKR", BadModel,
                "{}: {}: peft_type: expected LORA, LOHA or LOKR, got {}", file, kAdapterConfig,
                describe(*kind));
    of_peft_ = true;
  } else if (found != metadata.end()) {
    read(found->second, "lora_adapter_metadata", file);
  }
}

double AdapterSettings::factor(const AdapterKey& key, std::optional<int64_t> rank,
                               const std::string& file) const {
  const std::string prefix = of_peft_ ? "" : key.name.substr(0, key.name.size() - key.layer.size());
  std::optional<double> alpha = own(key, "lora_alpha", "alpha_pattern", file);
  if (!alpha) alpha = own(key, "alpha", "alpha_pattern", file);  // LoHa's and LoKr's name for it
  const std::optional<double> r =
      rank ? std::optional(static_cast<double>(*rank)) : own(key, "r", "rank_pattern", file);
  if (!alpha || !r || !(*r > 0)) return 1.0;
  const json* stabilized = value(prefix, "use_rslora");
  return *alpha / (stabilized && *stabilized == true ? std::sqrt(*r) : *r);
}

std::optional<double> AdapterSettings::own(const AdapterKey& key, const char* name, const char* patterns,
                                           const std::string& file) const {
  const std::string prefix = of_peft_ ? "" : key.name.substr(0, key.name.size() - key.layer.size());
  const json* found = value(prefix, name);
  if (!found) return std::nullopt;
  if (const json* given = value(prefix, patterns); given && given->is_object()) {
    for (const auto& [pattern, special] : given->items()) {
      if (!matches(key.layer, pattern, patterns, file)) continue;
      found = &special;
      break;
    }
  }
  return found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
}

void AdapterSettings::read(const std::string& text, const char* where, const std::string& file) {
  values_ = parse_json(text, fmt::format("{}: {}", file, where));
  GLINT_CHECK(values_.is_object(), BadModel, "{}: {}: expected an object, got {}", file, where,
              describe(values_));
}

const json* AdapterSettings::value(const std::string& prefix, const char* name) const {
  const auto found = values_.find(prefix + name);
  return found == values_.end() ? nullptr : &*found;
}

}  // namespace glint::detail
