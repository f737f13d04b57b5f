// Orders image and video tokens so that each block of the sequence is a compact patch of the picture, which
// makes block-sparse attention accurate.
#pragma once

#include <glint/export.hpp>

#include <cstdint>
#include <vector>

namespace glint {

/// Returns a permutation of the tokens of a frames x height x width grid: entry i is the raster index
/// (frames, then rows, then columns) of the i-th token. Any `block_size` consecutive tokens form a compact
/// patch: at block size 64, 8 x 8 for images and 4 x 4 x 4 for videos, exactly so if the sides are multiples
/// of the patch's.
///
/// The grid is cut into bands one patch thick, walked in alternating directions. A block that starts at the
/// end of one band continues next to it in the following band, so blocks are compact at any size and any
/// offset, for instance after any number of text tokens. If a side is not a multiple, its bands differ by one
/// in thickness.
///
/// Attention is permutation-equivariant and everything else in a transformer acts on single tokens, so it is
/// enough to permute tokens and position ids before the first layer and invert that after the last.
/// Units:   tokens.   Cost: linear.   Errors: InvalidArgument if a size is not positive.
/// Source:  the 8 x 8 patches of PISA's FLUX processor (xie-lab-ml/piecewise-sparse-attention, 2026), defined
///          there for 64 x 64 tokens only. Deviations: alternating bands; at that size the blocks are equal.
GLINT_API std::vector<int64_t> token_order(int64_t frames, int64_t height, int64_t width,
                                           int64_t block_size = 64);

}  // namespace glint
