// Reads adapter files.
#include "io/safetensors_content.hpp"
#include "lora/adapter_content.hpp"
#include "lora/adapter_layers.hpp"
#include "lora/weight_change.hpp"

#include <glint/core/error.hpp>

#include <fmt/format.h>

#include <span>
#include <string_view>

namespace glint {
namespace {

constexpr const char* kPeftFile = "adapter_model.safetensors";
constexpr std::string_view kPeftWrapper = "base_model.model.";

/// Whether a tensor that belongs to no layer may have been meant to change something. Counters, flags and
/// zeros are not.
bool may_matter(const at::Tensor& tensor) {
  return tensor.is_floating_point() && tensor.to(at::kDouble).any().item<bool>();
}

/// The tensors of a file, by layer.
struct Sorted {
  std::map<std::string, detail::LayerParts> layers = {};
  std::vector<std::string> others = {};  ///< those that belong to no layer
};

Sorted sorted(const TensorMap& tensors, std::vector<std::string> unknown, const std::string& file) {
  Sorted result;
  for (const std::string& name : unknown)
    GLINT_CHECK(!detail::parse_adapter_key(name), BadModel, "{}: tensor '{}': unknown dtype", file, name);
  for (const auto& [name, tensor] : tensors) {
    const auto key = detail::parse_adapter_key(name);
    if (!key) {
      if (may_matter(tensor)) result.others.push_back(name);
      continue;
    }
    detail::LayerParts& parts =
        result.layers.try_emplace(key->name, detail::LayerParts{.key = *key}).first->second;
    GLINT_CHECK(parts.tensors.emplace(key->part, tensor).second, BadModel,
                "{}: '{}' is there twice, under two names: '{}'", file, key->name, name);
  }
  return result;
}

/// Says what the file is if that is known, and that it is not supported.
std::string told_format(const std::vector<std::string>& keys) {
  for (const std::string& key : keys)
    if (const std::string_view format = detail::foreign_format(key); !format.empty())
      return fmt::format("this is {}, which is not supported; ", format);
  return "";
}

}  // namespace

std::string detail::listed(const std::vector<std::string>& keys) {
  constexpr size_t kShown = 8;
  const size_t shown = std::min(keys.size(), kShown);
  const std::string text = joined_text(std::span(keys).first(shown), ", ");
  return keys.size() == shown ? text : fmt::format("{} and {} more", text, keys.size() - shown);
}

std::vector<std::string> detail::keys_with_effect(const std::vector<WeightChange>& changes) {
  std::vector<std::string> keys;
  for (const WeightChange& change : changes)
    if (has_effect(change) && (keys.empty() || keys.back() != change.key)) keys.push_back(change.key);
  return keys;
}

AdapterFile detail::parse_adapter(const std::shared_ptr<const FileBytes>& content, const std::string& file,
                                  const AdapterContent& options) {
  AdapterFile result{.path = file, .partial = options.partial};
  Metadata metadata;
  std::vector<std::string> unknown;
  const TensorMap tensors = parse_safetensors(content, file, &metadata, &unknown);
  const AdapterSettings settings(metadata, options.config, file);
  const Sorted found = sorted(tensors, unknown, file);
  GLINT_CHECK(found.others.empty() || options.partial, BadModel,
              "{}: {}these tensors belong to no layer of a kind that is known: {}; with ':partial' they are "
              "left out",
              file, told_format(found.others), listed(found.others));
  if (!found.others.empty() && options.warn)
    options.warn(fmt::format("{}: left out, for they belong to no layer of a known kind: {}", file,
                             listed(found.others)));
  bool lacks_alpha = settings.empty();
  for (const auto& [name, parts] : found.layers) {
    std::vector<WeightChange> changes = layer_changes(parts, settings, file);
    if (changes.empty()) continue;
    lacks_alpha =
        lacks_alpha && !parts.tensors.contains(AdapterPart::Alpha) && name.starts_with(kPeftWrapper);
    std::vector<WeightChange>& all = result.layers[parts.key.component];
    all.insert(all.end(), std::make_move_iterator(changes.begin()), std::make_move_iterator(changes.end()));
  }
  GLINT_CHECK(!result.layers.empty(), BadModel, "{}: {}no low-rank layers or differences in it", file,
              told_format(found.others));
  if (lacks_alpha && options.warn)
    options.warn(fmt::format(
        "{}: PEFT keeps alpha in {}, which is not beside it; alpha is taken to be the rank, which "
        "may be too much or too little",
        file, kAdapterConfig));
  return result;
}

std::filesystem::path detail::adapter_path(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored) ? path / kPeftFile : path;
}

AdapterFile read_adapter(const AdapterSource& source, const AdapterWarn& warn) {
  const std::filesystem::path path = detail::adapter_path(source.path),
                              config = path.parent_path() / detail::kAdapterConfig;
  std::error_code ignored;
  const bool configured = path.filename() == kPeftFile && std::filesystem::is_regular_file(config, ignored);
  return detail::parse_adapter(
      std::make_shared<const detail::FileBytes>(path), path.string(),
      {.config = configured ? std::string(detail::FileBytes(config).text()) : std::string(),
       .partial = source.partial,
       .warn = warn});
}

}  // namespace glint
