#include "lora/adapter_content.hpp"

#include "io/json.hpp"
#include "io/safetensors_content.hpp"
#include "lora/adapter_names.hpp"

#include <glint/core/error.hpp>

#include <fmt/format.h>

#include <cmath>
#include <regex>
#include <span>

namespace glint {
namespace {

using detail::AdapterKey;
using detail::AdapterPart;
using nlohmann::json;

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kPeftFile = "adapter_model.safetensors";
constexpr std::string_view kPeftWrapper = "base_model.model.";

/// Formats keys as "a, b, c and 12 more"; a whole file's would fill the screen.
std::string listed(const std::vector<std::string>& keys) {
  constexpr size_t kShown = 8;
  const size_t shown = std::min(keys.size(), kShown);
  const std::string text = joined_text(std::span(keys).first(shown), ", ");
  return keys.size() == shown ? text : fmt::format("{} and {} more", text, keys.size() - shown);
}

/// The parts of one layer in a file.
struct Parts {
  AdapterKey key;
  at::Tensor up = {}, down = {}, alpha = {};
};

/// The training settings of a file: lora_alpha, alpha_pattern, use_rslora, ... PEFT keeps them in
/// adapter_config.json, diffusers in the metadata, by component: unet.lora_alpha, ...
class Settings {
 public:
  Settings(const Metadata& metadata, const std::string& config, const std::string& file) {
    const auto found = metadata.find("lora_adapter_metadata");
    if (!config.empty()) {
      read(config, kConfig, file);
      const json* kind = value("", "peft_type");
      GLINT_CHECK(!kind || *kind == "LORA", BadModel, "{}: {}: peft_type: expected LORA, got {}", file,
                  kConfig, detail::describe(*kind));
      of_peft_ = true;
    } else if (found != metadata.end()) {
      read(found->second, "lora_adapter_metadata", file);
    }
  }

  bool empty() const { return values_.empty(); }

  /// Returns a layer's factor if the file stores no alpha for it.
  double factor(const AdapterKey& key, int64_t rank, const std::string& file) const {
    const std::string prefix = of_peft_ ? "" : key.name.substr(0, key.name.size() - key.layer.size());
    const double r = static_cast<double>(rank);
    const json* alpha = value(prefix, "lora_alpha");
    if (const json* patterns = value(prefix, "alpha_pattern"); patterns && patterns->is_object()) {
      for (const auto& [pattern, own] : patterns->items()) {
        if (!matches(key.layer, pattern, file)) continue;
        alpha = &own;
        break;
      }
    }
    if (!alpha || !alpha->is_number()) return 1.0;
    const json* stabilized = value(prefix, "use_rslora");
    return alpha->get<double>() / (stabilized && *stabilized == true ? std::sqrt(r) : r);
  }

 private:
  void read(const std::string& text, const char* where, const std::string& file) {
    values_ = detail::parse_json(text, fmt::format("{}: {}", file, where));
    GLINT_CHECK(values_.is_object(), BadModel, "{}: {}: expected an object, got {}", file, where,
                detail::describe(values_));
  }

  /// Returns whether a pattern is for this layer, as PEFT says: a regular expression for the end of its name.
  static bool matches(const std::string& layer, const std::string& pattern, const std::string& file) {
    if (layer == pattern || layer.ends_with("." + pattern)) return true;
    if (pattern.find_first_of("*+?[](){}|^$\\") == std::string::npos) return false;
    constexpr size_t kLongest = 200;  // the matcher recurses
    GLINT_CHECK(pattern.size() <= kLongest && layer.size() <= kLongest, BadModel,
                "{}: alpha_pattern: expected at most {} characters in '{}' and in the layer '{}'", file,
                kLongest, pattern, layer);
    try {
      return std::regex_match(layer, std::regex("(.*\\.)?(" + pattern + ")"));
    } catch (const std::regex_error&) {
      fail(ErrorCode::BadModel, "{}: alpha_pattern: '{}' is no regular expression", file, pattern);
    }
  }

  const json* value(const std::string& prefix, const char* name) const {
    const auto found = values_.find(prefix + name);
    return found == values_.end() ? nullptr : &*found;
  }

  json values_ = json::object();
  bool of_peft_ = false;
};

LowRank layer_of(const Parts& parts, const Settings& settings, const std::string& file) {
  const std::string& name = parts.key.name;
  GLINT_CHECK(parts.up.defined() && parts.down.defined(), BadModel, "{}: '{}': the {} factor is missing",
              file, name, parts.up.defined() ? "down (lora_A)" : "up (lora_B)");
  for (const at::Tensor* factor : {&parts.up, &parts.down})
    GLINT_CHECK(factor->is_floating_point(), BadModel, "{}: '{}': expected floating point, got {}", file,
                name, at::toString(factor->scalar_type()));
  const bool fits = parts.up.dim() >= 2 && parts.down.dim() >= 2 && parts.up.size(1) == parts.down.size(0) &&
                    parts.down.size(0) > 0 && parts.up.numel() == parts.up.size(0) * parts.up.size(1);
  GLINT_CHECK(fits, BadModel, "{}: '{}': expected up [out,r] and down [r,in,...], got {} and {}", file, name,
              shape_string(parts.up.sizes()), shape_string(parts.down.sizes()));
  LowRank layer{
      .key = name, .layer = parts.key.layer, .up = parts.up.flatten(1), .down = parts.down.flatten(1)};
  const int64_t rank = layer.down.size(0);
  if (parts.alpha.defined()) {
    GLINT_CHECK(parts.alpha.numel() == 1, BadModel, "{}: '{}': alpha: expected one number, got {}", file,
                name, shape_string(parts.alpha.sizes()));
    layer.factor = parts.alpha.to(at::kDouble).item<double>() / static_cast<double>(rank);
  } else {
    layer.factor = settings.factor(parts.key, rank, file);
  }
  GLINT_CHECK(std::isfinite(layer.factor), BadModel, "{}: '{}': alpha: expected a finite number", file, name);
  constexpr double kLargestFactor = 1e9;  // so that its product with any scale fits into float32
  GLINT_CHECK(std::abs(layer.factor) <= kLargestFactor, BadModel,
              "{}: '{}': alpha: expected a number of at most {} times the rank, got {} times", file, name,
              kLargestFactor, layer.factor);
  return layer;
}

/// Appends the layer to its target weights, splitting its rows in order if there are several.
void divide(const LowRank& layer, const std::vector<std::string>& targets, const Weights& weights,
            const std::string& file, WeightChanges& changes) {
  int64_t rows = 0, columns = 0;
  std::string shapes;
  for (const std::string& target : targets) {
    const at::Tensor& weight = weights.at(target);
    rows += weight.size(0);
    columns = weight.numel() / weight.size(0);
    shapes += fmt::format("{}{} {}", shapes.empty() ? "" : ", ", target, shape_string(weight.sizes()));
    GLINT_CHECK(layer.down.size(1) == columns, ShapeMismatch,
                "{}: '{}' changes [{},{}] values, which does not fit {}", file, layer.key, layer.up.size(0),
                layer.down.size(1), shapes);
  }
  GLINT_CHECK(layer.up.size(0) == rows, ShapeMismatch,
              "{}: '{}' changes [{},{}] values, which does not fit {}", file, layer.key, layer.up.size(0),
              layer.down.size(1), shapes);
  int64_t row = 0;
  for (const std::string& target : targets) {
    LowRank part = layer;
    const int64_t own = weights.at(target).size(0);
    part.up = layer.up.narrow(0, row, own);
    changes[target].push_back(std::move(part));
    row += own;
  }
}

}  // namespace

AdapterFile detail::parse_adapter(const std::shared_ptr<const FileBytes>& content, const std::string& file,
                                  const std::string& config, const Warn& warn) {
  AdapterFile result{.path = file};
  Metadata metadata;
  const TensorMap tensors = parse_safetensors(content, file, &metadata);
  const Settings settings(metadata, config, result.path);
  std::map<std::string, Parts> layers;
  std::vector<std::string> others;
  for (const auto& [name, tensor] : tensors) {
    const auto key = detail::parse_adapter_key(name);
    if (!key) {
      others.push_back(name);
      continue;
    }
    Parts& parts = layers.try_emplace(key->name, Parts{.key = *key}).first->second;
    at::Tensor& part = key->part == AdapterPart::Alpha ? parts.alpha
                       : key->part == AdapterPart::Up  ? parts.up
                                                       : parts.down;
    GLINT_CHECK(!part.defined(), BadModel, "{}: '{}' is there twice, under the names of two adapters: '{}'",
                result.path, key->name, name);
    part = tensor;
  }
  GLINT_CHECK(
      others.empty(), BadModel,
      "{}: these tensors are no part of a low-rank layer (DoRA, LoHa, LoKr and biases are not supported): {}",
      result.path, listed(others));
  GLINT_CHECK(!layers.empty(), BadModel, "{}: no low-rank layers in it", result.path);
  bool lacks_alpha = settings.empty();
  for (const auto& [name, parts] : layers) {
    lacks_alpha = lacks_alpha && !parts.alpha.defined() && name.starts_with(kPeftWrapper);
    result.layers[parts.key.component].push_back(layer_of(parts, settings, result.path));
  }
  if (lacks_alpha && warn)
    warn(fmt::format(
        "{}: PEFT keeps alpha in {}, which is not beside it; alpha is taken to be the rank, which "
        "may be too much or too little",
        file, kConfig));
  return result;
}

std::filesystem::path detail::adapter_path(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored) ? path / kPeftFile : path;
}

AdapterFile detail::load_adapter(const std::filesystem::path& given, const Warn& warn) {
  const std::filesystem::path path = adapter_path(given), config = path.parent_path() / kConfig;
  std::error_code ignored;
  const bool configured = path.filename() == kPeftFile && std::filesystem::is_regular_file(config, ignored);
  return parse_adapter(std::make_shared<const FileBytes>(path), path.string(),
                       configured ? std::string(FileBytes(config).text()) : "", warn);
}

AdapterFile read_adapter(const std::filesystem::path& path) { return detail::load_adapter(path); }

WeightChanges match_adapter(const AdapterFile& file, const std::string& component, const Weights& weights) {
  WeightChanges changes;
  const auto layers = file.layers.find(component);
  if (layers == file.layers.end()) return changes;
  const detail::WeightIndex index(weights);
  std::vector<std::string> unmatched;
  for (const LowRank& layer : layers->second) {
    const std::vector<std::string> targets = index.find(layer.layer);
    if (targets.empty())
      unmatched.push_back(layer.key);
    else
      divide(layer, targets, weights, file.path, changes);
  }
  GLINT_CHECK(unmatched.empty(), InvalidArgument,
              "{}: made for another model? Its {} has no weights for {} of {} layers: {}", file.path,
              component, unmatched.size(), layers->second.size(), listed(unmatched));
  return changes;
}

}  // namespace glint
