// What the library needs to know about a model family. To add one, write a file beside this one and list it
// in families.cpp.
#pragma once

#include <glint/model/text_tokens.hpp>

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace glint::families {

/// How to combine several text encoders' outputs into one conditioning. Encoders count from 0.
struct TextLayout {
  std::vector<size_t> side_by_side;  ///< encoders whose tokens are concatenated along D
  std::optional<size_t> behind =
      {};  ///< encoder whose tokens follow along L; the others are zero-padded to its D
  std::vector<size_t> pooled = {};  ///< encoders whose pooled embeddings are concatenated along P
  bool time_ids = false;            ///< the network takes the image size as an input
  bool clip_skip = false;           ///< tokens may be those of an earlier layer of the encoders side by side
  std::optional<size_t> free_length = {};  ///< encoder whose number of tokens may change: T5
  std::vector<std::string_view> inputs;    ///< the denoiser's inputs among these
};

/// A layer's name in the published checkpoint and in diffusers' model, whose names we use, both with '_' for
/// '.'. # is the same number in both; | separates the parts of fused weights.
struct LayerName {
  std::string_view published, ours;
  bool shift_first = false;  ///< an output's modulation is (shift, scale) there and (scale, shift) in ours
};

/// Whether the network has a layer of this name.
using HasLayer = std::function<bool(const std::string& name)>;

struct Family {
  std::string_view name;
  size_t encoders = 1;                      ///< number of text encoders; 0 = takes no prompts
  std::optional<TextLayout> text = {};      ///< unset = the single encoder's output, mask and ids included
  TextTokens text_tokens = TextTokens::Unknown;  ///< of the denoiser, unless its component says
  std::vector<LayerName> layer_names = {};  ///< the published checkpoint's names, which LoRA files may use
  /// Translates names no table can hold: returns ours, or "" for any other layer.
  std::string (*layer_name)(std::string_view published, const HasLayer& has) = nullptr;
};

std::span<const Family> all();

/// Returns the family called `name`, or a default-constructed one for unknown names.
const Family& find(std::string_view name);

/// Returns `role`, role_2, role_3, ... for index 0, 1, 2, ... Encoder numbered("text_encoder", i) uses
/// tokenizer numbered("tokenizer", i).
std::string numbered(const std::string& role, size_t index);

}  // namespace glint::families
