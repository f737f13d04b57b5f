// Sizes of pictures and of latents.
#pragma once

#include <glint/bundle/manifest.hpp>
#include <glint/pipeline/request.hpp>

namespace glint::detail {

/// Returns the shape of one sample's latents, [C,H,W] or [C,F,H,W], of the size or noise that is asked for.
/// Errors:  InvalidArgument naming width, height or frames; ShapeMismatch for the noise.
std::vector<int64_t> latent_shape(const GenerateRequest& request, const Manifest& manifest);

/// Returns the side of the tiles in which latents of this shape are decoded, px; 0 is one piece.
/// Errors:  InvalidArgument naming vae_tile.
int64_t tile_side(const GenerateRequest& request, const LatentSpec& latent,
                  const std::vector<int64_t>& shape);

}  // namespace glint::detail
