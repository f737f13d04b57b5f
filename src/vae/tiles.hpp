// Large pictures in overlapping tiles.
#pragma once

#include <glint/core/tensor.hpp>
#include <glint/vae/vae_options.hpp>

#include <functional>

namespace glint::detail {

/// Sides of the tiles that go in and come out, in pixels of either. Both are multiples of 4.
struct TileSides {
  int64_t in, out;
};

/// Whether a picture of this size is cut.
bool needs_tiles(const at::Tensor& input, const TileSides& sides);

/// Returns how many tiles cover the input.
int64_t tile_count(const at::Tensor& input, const TileSides& sides);

/// Returns run(input) made from tiles: `run` is called for each, rows from the top, tiles from the left.
/// Tiles begin every 3/4 of their side; where one overlaps the tile above and the tile to the left, it is
/// faded in over 1/4 of its side, first downwards, then to the right. Those at the borders are cut off there.
/// Shapes:  input [...,H,W]; run maps [...,h,w] to [...,h out/in,w out/in]; returns [...,H out/in,W out/in].
at::Tensor in_tiles(const at::Tensor& input, const TileSides& sides,
                    const std::function<at::Tensor(const at::Tensor&)>& run);

}  // namespace glint::detail
