// What the keys of LoRA files mean. Two dialects have to be understood: dotted module paths (diffusers,
// PEFT), and Kohya's, in which dots are underscores too. Names are compared in the second form, to which
// every path can be brought.
#pragma once

#include <glint/network/network.hpp>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace glint::detail {

enum class AdapterPart { Down, Up, Alpha };

/// A key of a LoRA file, taken apart.
struct AdapterKey {
  std::string component;  ///< the bundle's: denoiser, text_encoder, ...
  std::string layer;      ///< as the file writes it, without prefixes that say the component
  std::string name;       ///< the key without its ending, which its parts have in common
  AdapterPart part;
};

/// Returns what `key` means, or nothing if it is not part of a low-rank layer.
std::optional<AdapterKey> parse_adapter_key(std::string_view key);

/// Finds a network's weights by the names LoRA files give them.
class WeightIndex {
 public:
  /// Errors:  BadModel if two weights have the same name in Kohya's form.
  explicit WeightIndex(const Weights& weights);

  /// Returns the weights that a layer changes, in the order of its rows: mostly one, several where the
  /// published checkpoint has them fused; none if there is no such weight.
  std::vector<std::string> find(const std::string& layer) const;

 private:
  std::map<std::string, std::string, std::less<>> names_;  // flat to the archive's
};

}  // namespace glint::detail
