// Networks of a bundle as the algorithms take them: functions of tensors and prompts.
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

/// What the released architecture of CoRe2's weak network makes of the decomposed prompts U S Vh.
enum class TextRows {
  LegacyRows,  ///< the first rows of U, as the released code takes them by mistake and its weights were
               ///< trained with
  Columns      ///< the first columns: the prompts' best approximation of that rank
};
template <>
struct EnumNames<TextRows> {
  static constexpr std::array<std::string_view, 2> values{"legacy-rows", "columns"};
};

/// Returns the bundle's weak network, with `text` in place of what its file says. Its component names its
/// inputs: output [B,...] (the conditional prediction), latents [B,...] (what it was made for), sigma [B],
/// position [B] (i / N), tokens, pooled, null_tokens, null_pooled.
/// Errors:  NotFound if the bundle has no such component; BadModel for an input it cannot be given;
///          InvalidArgument for `text` if it is not of the released architecture; ShapeMismatch, when it
///          runs, if what comes back is not of the latents' shape.
GLINT_API WeakNetwork weak_network(const Bundle& bundle, const std::string& component,
                                   std::optional<TextRows> text = std::nullopt);

/// Returns the bundle's noise network (inputs latents [B,C,...], tokens [B,L,D], pooled). NPNet's released
/// weights know latents 4 x 128 x 128 and 77 tokens only. `svd_attention` says whether NPNet's SVD branch
/// attends; unset is what its file says. `latent_shape` [C,...] is that of the run, empty if it is not known
/// yet.
/// Errors:  NotFound if the bundle has no such component; InvalidArgument for svd_attention if it is not
///          NPNet; ShapeMismatch, naming network and sizes, where it does not fit: now if the run's size is
///          known, else when it runs.
GLINT_API NoiseNetwork noise_network(const Bundle& bundle, const std::string& component,
                                     std::optional<bool> svd_attention = std::nullopt,
                                     const std::vector<int64_t>& latent_shape = {});

/// Returns the scorer in a bundle: its decoder, then `component`, called with (image [B,3,H,W] in [-1,1], ids
/// [B,L]).
/// Errors:  NotFound if the bundle has no such component or no decoder; InvalidArgument, when it runs, for a
///          conditioning that did not come from a prompt.
GLINT_API LatentScorer latent_scorer(const Bundle& bundle, const std::string& component);

}  // namespace glint
