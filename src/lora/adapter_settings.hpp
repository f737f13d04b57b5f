// The training settings of an adapter file that say how strong it is.
#pragma once

#include "io/json.hpp"
#include "lora/adapter_names.hpp"

#include <glint/io/safetensors.hpp>

#include <optional>
#include <string>

namespace glint::detail {

/// PEFT's configuration beside its file.
inline constexpr const char* kAdapterConfig = "adapter_config.json";

/// alpha, its patterns, use_rslora, ... PEFT keeps them in adapter_config.json, diffusers in the metadata, by
/// component: unet.lora_alpha, ...
class AdapterSettings {
 public:
  /// `config` is the content of adapter_config.json, or empty.
  /// Errors:  BadModel if either is no object, or the adapter is of a kind unknown here.
  AdapterSettings(const Metadata& metadata, const std::string& config, const std::string& file);

  bool empty() const { return values_.empty(); }

  /// Returns a layer's factor if the file stores no alpha for it. Without a `rank` of its own, the layer has
  /// that of PEFT's configuration.
  double factor(const AdapterKey& key, std::optional<int64_t> rank, const std::string& file) const;

  /// Returns whether a setting of the layer's component is on.
  bool flag(const AdapterKey& key, const char* name, const std::string& file) const;

 private:
  std::string prefix_of(const AdapterKey& key) const;
  void read(const std::string& text, const char* where, const std::string& file);
  const nlohmann::json* value(const std::string& prefix, const char* name) const;

  /// Returns the layer's value: the first pattern's that fits, or that of all layers; nullopt if there is
  /// none.
  std::optional<double> own(const AdapterKey& key, const char* name, const char* patterns,
                            const std::string& file) const;

  nlohmann::json values_ = nlohmann::json::object();
  bool of_peft_ = false;
};

}  // namespace glint::detail
