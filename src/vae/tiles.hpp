// Processes large images in overlapping tiles.
#pragma once

#include <glint/core/tensor.hpp>
#include <glint/vae/vae_options.hpp>

#include <functional>

namespace glint::detail {

/// Sides of input and output tiles, each in its own pixels. Both are multiples of 4.
struct TileSides {
  int64_t in, out;
};

/// Returns whether an image of this size needs tiling.
bool needs_tiles(const at::Tensor& input, const TileSides& sides);

/// Returns how many tiles cover the input.
int64_t tile_count(const at::Tensor& input, const TileSides& sides);

/// Returns run(input), assembled from tiles: calls `run` for each, top to bottom, left to right. Tiles start
/// every 3/4 of their side and are blended over the overlapping 1/4, first with the tile above, then with the
/// one to the left. Tiles are cropped at the borders.
/// Shapes:  input [...,H,W]; run maps [...,h,w] to [...,h out/in,w out/in]; returns [...,H out/in,W out/in].
at::Tensor in_tiles(const at::Tensor& input, const TileSides& sides,
                    const std::function<at::Tensor(const at::Tensor&)>& run);

}  // namespace glint::detail
