// What a run changes about its prompts, beside their text.
#pragma once

#include <glint/export.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace glint {

/// Size of a picture, px.
struct PictureSize {
  int64_t height = 0;
  int64_t width = 0;
};

/// A point of a picture, px from its top left corner.
struct PictureCorner {
  int64_t top = 0;
  int64_t left = 0;
};

/// Where SDXL is told that the picture comes from.
struct PictureOrigin {
  std::optional<PictureSize> original = {};  ///< of the picture it is a part of; unset = the run's
  std::optional<PictureCorner> crop = {};    ///< where in that picture it begins; unset = its corner
  std::optional<PictureSize> target = {};    ///< of the part; unset = the run's
};

/// Changes to a run's prompts. A model that has no use for one refuses it by name.
/// Source:  the arguments of these names of diffusers' pipelines, and max_sequence_length.
struct PromptOptions {
  std::string prompt_2 = {}, prompt_3 = {};      ///< for the 2nd and 3rd text encoder; empty = the prompt
  std::string negative_2 = {}, negative_3 = {};  ///< the same of the negative prompt
  /// Layers of CLIP left out before the one whose output is the prompt's. Not of the negative prompt's.
  std::optional<int64_t> clip_skip = {};
  std::optional<int64_t> text_length = {};  ///< tokens of T5, 2 to 512; unset = the model's
  PictureOrigin origin = {};
  /// The negative prompt's; `original` and `target` go together. Unset = as `origin`.
  PictureOrigin negative_origin = {};
};

/// One of the options as text.
struct PromptField {
  std::string_view name;  ///< prompt_2, clip_skip, original_size, ...
  std::string_view help;
};

/// Returns all options, in the order of the struct.
GLINT_API std::span<const PromptField> prompt_fields();

/// Sets one option. Sizes are WIDTHxHEIGHT, corners LEFT,TOP.
/// Errors:  InvalidArgument, naming the option, for an unknown name and for text that is no such value.
GLINT_API void set_prompt_field(PromptOptions& options, std::string_view name, std::string_view text);

/// Returns the options that are set, as text that set_prompt_field takes.
GLINT_API std::map<std::string, std::string> prompt_field_texts(const PromptOptions& options);

}  // namespace glint
