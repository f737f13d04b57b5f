// Adapts a bundle's networks to the functions of tensors and prompts that the algorithms take.
#pragma once

#include <glint/bundle/bundle.hpp>
#include <glint/core/enum_names.hpp>
#include <glint/export.hpp>
#include <glint/guidance/core2.hpp>
#include <glint/noise/golden_noise.hpp>
#include <glint/noise/reward_selection.hpp>

#include <array>
#include <optional>
#include <string>

namespace glint {

/// What CoRe2's released weak network takes from the SVD U S Vh of the prompt embeddings.
enum class TextRows {
  LegacyRows,  ///< the first rows of U: the released code's mistake, trained into its weights
  Columns      ///< the first columns of U: the best approximation of that rank
};
template <>
struct EnumNames<TextRows> {
  static constexpr std::array<std::string_view, 2> values{"legacy-rows", "columns"};
};

/// Returns the bundle's weak network; `text` overrides the setting in its file. The component names its
/// inputs: output [B,...] (the conditional prediction), latents [B,...] (where it was made), sigma [B],
/// position [B] (i / N), tokens, pooled, null_tokens, null_pooled.
/// Errors:  NotFound if the bundle has no such component; BadModel for an unknown input; InvalidArgument for
///          `text` unless the network has the released architecture; ShapeMismatch, in the run, if the output
///          does not have the latents' shape.
GLINT_API WeakNetwork weak_network(const Bundle& bundle, const std::string& component,
                                   std::optional<TextRows> text = std::nullopt);

/// Returns the bundle's noise network (inputs latents [B,C,...], tokens [B,L,D], pooled). NPNet's released
/// weights accept only 4 x 128 x 128 latents and 77 tokens. `svd_attention` enables attention in NPNet's SVD
/// branch; unset = as in its file. `latent_shape` [C,...] is the run's; empty if not known yet.
/// Errors:  NotFound if the bundle has no such component; InvalidArgument for svd_attention if it is not
///          NPNet; ShapeMismatch, naming network and sizes, where it does not fit: now if the run's size is
///          known, else in the run.
GLINT_API NoiseNetwork noise_network(const Bundle& bundle, const std::string& component,
                                     std::optional<bool> svd_attention = std::nullopt,
                                     const std::vector<int64_t>& latent_shape = {});

/// Returns the bundle's scorer: its decoder, then `component`, called with (image [B,3,H,W] in [-1,1], ids
/// [B,L]).
/// Errors:  NotFound if the bundle has no such component or no decoder; InvalidArgument, in the run, for a
///          conditioning that did not come from a prompt.
GLINT_API LatentScorer latent_scorer(const Bundle& bundle, const std::string& component);

}  // namespace glint
