// Parses the keys of adapter files. There are two dialects: dotted module paths (diffusers, PEFT) and
// Kohya's, which turns dots into underscores. Names are compared in the latter form, since every path
// converts to it.
#pragma once

#include <glint/lora/adapter.hpp>
#include <glint/network/network.hpp>

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace glint::detail {

enum class AdapterPart {
  Down,
  Up,
  Core,
  UpBias,
  Alpha,
  Magnitude,        // of LyCORIS, [out,1,...] or [1,in,...]
  MagnitudeVector,  // of PEFT, one per output in any shape
  HadamardUp1,
  HadamardDown1,
  HadamardCore1,
  HadamardUp2,
  HadamardDown2,
  HadamardCore2,
  Kronecker1,
  KroneckerUp1,
  KroneckerDown1,
  Kronecker2,
  KroneckerUp2,
  KroneckerDown2,
  KroneckerCore2,
  Difference,
  BiasDifference,
  Value
};

/// How the key of one part of a layer ends.
struct KeyEnding {
  std::string_view text;  ///< [.ADAPTER] may follow if `named`
  AdapterPart part;
  std::string_view tail = ".weight";  ///< behind text and adapter's name
  std::string_view kept = "";         ///< what of the text belongs to the layer's name
  bool named = true;
};

/// Files of one kind of change: what their keys end with, and what becomes of a weight.
struct ChangeKind {
  std::string_view name;
  std::vector<KeyEnding> endings;
  std::string_view formula;  ///< markdown; s is the scale, a the file's alpha over the rank
  std::string_view memory;   ///< what stays in memory, and what is made while a weight is formed
};

/// How the keys of one component's layers begin.
struct ComponentPrefix {
  std::string_view text, component;
};

std::span<const ChangeKind> change_kinds();
std::span<const ComponentPrefix> component_prefixes();

/// Returns the format that a key is of, if it is one that is known but not supported: "OFT", "a textual
/// inversion", ...; else "".
std::string_view foreign_format(std::string_view key);

/// A parsed key of an adapter file.
struct AdapterKey {
  std::string component;  ///< the bundle's component: denoiser, text_encoder, ...
  std::string layer;      ///< as in the file, without component prefixes
  std::string name;       ///< the key without its suffix, common to all parts
  AdapterPart part;
};

/// Parses `key`; nullopt if it is no part of a layer.
std::optional<AdapterKey> parse_adapter_key(std::string_view key);

/// A weight that a layer changes.
struct ChangeTarget {
  std::string weight;
  bool halves_swapped = false;  ///< the published weight has the second half of its rows first
};

/// Finds a network's weights by their names in adapter files.
class WeightIndex {
 public:
  /// Errors:  BadModel if two weights share a name in Kohya's form.
  explicit WeightIndex(const Weights& weights);

  /// Returns the weights that a change of `parameter` (weight, bias) of a layer is for, in row order: usually
  /// one, several if the published checkpoint fuses them, none if there is no such weight.
  std::vector<ChangeTarget> find(const std::string& layer, const std::string& parameter) const;

 private:
  const std::string* weight(const std::string& layer, const std::string& parameter) const;

  const Weights& weights_;
  std::map<std::string, std::string, std::less<>> names_;  // Kohya's form -> the archive's
};

}  // namespace glint::detail
