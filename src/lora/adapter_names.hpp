// Parses the keys of LoRA files. There are two dialects: dotted module paths (diffusers, PEFT) and Kohya's,
// which turns dots into underscores. Names are compared in the latter form, since every path converts to it.
#pragma once

#include <glint/network/network.hpp>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace glint::detail {

enum class AdapterPart { Down, Up, Alpha };

/// A parsed key of a LoRA file.
struct AdapterKey {
  std::string component;  ///< the bundle's component: denoiser, text_encoder, ...
  std::string layer;      ///< as in the file, without component prefixes
  std::string name;       ///< the key without its suffix, common to all parts
  AdapterPart part;
};

/// Parses `key`; nullopt if it is not part of a low-rank layer.
std::optional<AdapterKey> parse_adapter_key(std::string_view key);

/// Finds a network's weights by their names in LoRA files.
class WeightIndex {
 public:
  /// Errors:  BadModel if two weights share a name in Kohya's form.
  explicit WeightIndex(const Weights& weights);

  /// Returns the weights a layer changes, in row order: usually one, several if the published checkpoint
  /// fuses them, none if there is no such weight.
  std::vector<std::string> find(const std::string& layer) const;

 private:
  std::map<std::string, std::string, std::less<>> names_;  // Kohya's form -> the archive's
};

}  // namespace glint::detail
