// Checks a request's numbers and texts, and resolves image, latent and tile sizes.
#pragma once

#include <glint/bundle/manifest.hpp>
#include <glint/pipeline/request.hpp>
#include <glint/pipeline/share.hpp>

namespace glint::detail {

/// Throws unless count, batch, first and limit are in range, so that no product or sum of them overflows.
/// Errors:  InvalidArgument naming the field.
void check_numbers(const GenerateRequest& request);

/// Throws unless the rank is that of one of the processes and the patience is a time.
/// Errors:  InvalidArgument naming the field.
void check_share(const Share& share);

/// Throws unless there are prompts, and all are UTF-8 and of at most kLongestPrompt bytes.
/// Errors:  InvalidArgument naming the prompt.
void check_prompts(const GenerateRequest& request);

/// Returns the latent shape of one sample, [C,H,W] or [C,F,H,W], for the requested size or noise.
/// Errors:  InvalidArgument naming width, height or frames; ShapeMismatch for the noise.
std::vector<int64_t> latent_shape(const GenerateRequest& request, const Manifest& manifest);

/// Returns the side of the tiles to decode latents of this shape in, px; 0 = no tiling.
/// Errors:  InvalidArgument naming vae_tile.
int64_t tile_side(const GenerateRequest& request, const LatentSpec& latent,
                  const std::vector<int64_t>& shape);

}  // namespace glint::detail
