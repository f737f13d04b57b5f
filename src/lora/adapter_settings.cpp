#include "lora/adapter_settings.hpp"

#include <glint/core/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <regex>

namespace glint::detail {
namespace {

using nlohmann::json;

/// Fields that are read here, that only say which layers there are, or how they were trained.
constexpr std::array<std::string_view, 38> kKnownFields{"r",
                                                        "lora_alpha",
                                                        "alpha",
                                                        "rank_pattern",
                                                        "alpha_pattern",
                                                        "use_rslora",
                                                        "use_dora",
                                                        "lora_bias",
                                                        "peft_type",
                                                        "peft_version",
                                                        "task_type",
                                                        "auto_mapping",
                                                        "base_model_name_or_path",
                                                        "revision",
                                                        "inference_mode",
                                                        "target_modules",
                                                        "exclude_modules",
                                                        "layers_to_transform",
                                                        "layers_pattern",
                                                        "modules_to_save",
                                                        "bias",
                                                        "fan_in_fan_out",
                                                        "lora_dropout",
                                                        "rank_dropout",
                                                        "rank_dropout_scale",
                                                        "module_dropout",
                                                        "init_weights",
                                                        "decompose_both",
                                                        "decompose_factor",
                                                        "use_effective_conv2d",
                                                        "loftq_config",
                                                        "eva_config",
                                                        "corda_config",
                                                        "lora_ga_config",
                                                        "runtime_config",
                                                        "megatron_core",
                                                        "qalora_group_size",
                                                        "ensure_weight_tying"};

/// Ways to begin a training that leave the base weights as they are. The others (PiSSA, OLoRA, CorDA, LoftQ,
/// LoRA-GA) subtract something from them.
constexpr std::array<std::string_view, 3> kInitializations{"gaussian", "eva", "orthogonal"};

bool is_off(const json& value) {
  return value.is_null() || value == false || (value.is_structured() && value.empty());
}

bool leaves_base(const json& initialization) {
  return initialization.is_boolean() || initialization.is_null() ||
         std::ranges::any_of(kInitializations, [&](std::string_view name) { return initialization == name; });
}

/// Fails for settings that no change of a weight can express.
void check_field(const std::string& key, const json& value, const char* where, const std::string& file) {
  const size_t dot = key.rfind('.');  // diffusers puts the component before it
  const std::string field = dot == std::string::npos ? key : key.substr(dot + 1);
  if (field == "init_lora_weights") {
    GLINT_CHECK(leaves_base(value), BadModel,
                "{}: {}: {}: {} changes the base's weights before the training; PEFT converts such a file to "
                "a plain LoRA when it is saved with path_initial_model_for_weight_conversion",
                file, where, key, describe(value));
  } else if (std::ranges::find(kKnownFields, field) == kKnownFields.end()) {
    GLINT_CHECK(is_off(value), BadModel, "{}: {}: {}: expected nothing, since it is not supported, got {}",
                file, where, key, describe(value));
  }
}

/// Returns a number; nullopt for null.
std::optional<double> number(const json& value, const std::string& place) {
  if (value.is_null()) return std::nullopt;
  GLINT_CHECK(value.is_number(), BadModel, "{}: expected a number, got {}", place, describe(value));
  return value.get<double>();
}

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

std::string AdapterSettings::prefix_of(const AdapterKey& key) const {
  return of_peft_ ? "" : key.name.substr(0, key.name.size() - key.layer.size());
}

bool AdapterSettings::flag(const AdapterKey& key, const char* name, const std::string& file) const {
  const json* given = value(prefix_of(key), name);
  if (!given || given->is_null()) return false;
  GLINT_CHECK(given->is_boolean(), BadModel, "{}: {}{}: expected true or false, got {}", file, prefix_of(key),
              name, describe(*given));
  return given->get<bool>();
}

double AdapterSettings::factor(const AdapterKey& key, std::optional<int64_t> rank,
                               const std::string& file) const {
  std::optional<double> alpha = own(key, "lora_alpha", "alpha_pattern", file);
  if (!alpha) alpha = own(key, "alpha", "alpha_pattern", file);  // LoHa's and LoKr's name for it
  const std::optional<double> r =
      rank ? std::optional(static_cast<double>(*rank)) : own(key, "r", "rank_pattern", file);
  if (!alpha || !r || !(*r > 0)) return 1.0;
  return *alpha / (flag(key, "use_rslora", file) ? std::sqrt(*r) : *r);
}

std::optional<double> AdapterSettings::own(const AdapterKey& key, const char* name, const char* patterns,
                                           const std::string& file) const {
  const json* found = value(prefix_of(key), name);
  if (!found) return std::nullopt;
  if (const json* given = value(prefix_of(key), patterns); given && !given->is_null()) {
    GLINT_CHECK(given->is_object(), BadModel, "{}: {}{}: expected an object, got {}", file, prefix_of(key),
                patterns, describe(*given));
    for (const auto& [pattern, special] : given->items()) {
      if (!matches(key.layer, pattern, patterns, file)) continue;
      found = &special;
      break;
    }
  }
  return number(*found, fmt::format("{}: {}{}", file, prefix_of(key), name));
}

void AdapterSettings::read(const std::string& text, const char* where, const std::string& file) {
  values_ = parse_json(text, fmt::format("{}: {}", file, where));
  GLINT_CHECK(values_.is_object(), BadModel, "{}: {}: expected an object, got {}", file, where,
              describe(values_));
  for (const auto& [key, value] : values_.items()) check_field(key, value, where, file);
}

const json* AdapterSettings::value(const std::string& prefix, const char* name) const {
  const auto found = values_.find(prefix + name);
  return found == values_.end() ? nullptr : &*found;
}

}  // namespace glint::detail
