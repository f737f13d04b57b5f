// What the library has to know of a model family. A family is one file beside this one and its name in
// families.cpp.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace glint::families {

/// How the outputs of several text encoders become one conditioning. Encoders are counted from 0.
struct TextLayout {
  std::vector<size_t> side_by_side;  ///< whose tokens are joined along D
  std::optional<size_t> behind =
      {};                           ///< whose tokens follow along L, the former filled up with zeros to its D
  std::vector<size_t> pooled = {};  ///< whose pooled embeddings are joined along P
  bool time_ids = false;            ///< the network is told the picture's size
  std::vector<std::string_view> inputs;  ///< what the denoiser takes of all this
};

/// A layer's name in the published checkpoint and the diffusers model's, which is what weights are called
/// here, both with '_' for '.'. # is the same number in both; | divides fused weights.
struct LayerName {
  std::string_view published, ours;
};

/// Whether the network has a layer of this name.
using HasLayer = std::function<bool(const std::string& name)>;

struct Family {
  std::string_view name;
  size_t encoders = 1;                      ///< text encoders; 0: it takes no prompts
  std::optional<TextLayout> text = {};      ///< none: what the one encoder gives, mask and ids included
  std::vector<LayerName> layer_names = {};  ///< the published checkpoint's, which LoRA files may use
  /// The rest of these, which no table can hold: our name, or nothing for a layer that is not among them.
  std::string (*layer_name)(std::string_view published, const HasLayer& has) = nullptr;
};

std::span<const Family> all();

/// Returns the family called `name`; for a name of none, one that has what a family has unless it says
/// otherwise.
const Family& find(std::string_view name);

/// Returns a component's name: `role`, role_2, role_3, ... Encoder i is numbered("text_encoder", i), fed by
/// numbered("tokenizer", i).
std::string numbered(const std::string& role, size_t index);

}  // namespace glint::families
