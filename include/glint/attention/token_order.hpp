// The order of image and video tokens in which every block of neighbours in the sequence is a patch of
// neighbours in the picture: what makes block-sparse attention accurate.
#pragma once

#include <glint/export.hpp>

#include <cstdint>
#include <vector>

namespace glint {

/// Returns a permutation of the tokens of a frames x height x width grid: entry i is the raster index
/// (frames, then rows, then columns) of the token that comes i-th. Any `block_size` tokens in a row are a
/// compact patch: 8 x 8 for pictures and 4 x 4 x 4 for videos at block size 64, exactly so where the sides
/// are multiples of the patch's.
///
/// The grid is cut into bands one patch thick, and bands are walked there and back. A block that begins at
/// the end of a band ends in the next band beside it, so that any size has compact blocks, wherever the first
/// one begins: text tokens before the image may have any number. Bands of a side that is no multiple differ
/// by one in thickness.
///
/// Attention is equivariant under permutations and everything else in a transformer works on single tokens,
/// so one permutation of tokens and position ids before the first layer and its inverse after the last are
/// enough.
/// Units:   tokens.   Cost: linear.   Errors: InvalidArgument if a size is not positive.
/// Source:  the 8 x 8 patches of PISA's FLUX processor (xie-lab-ml/piecewise-sparse-attention, 2026), defined
///          there for 64 x 64 tokens only. Deviations: bands walked there and back; at that size the blocks
///          are the same.
GLINT_API std::vector<int64_t> token_order(int64_t frames, int64_t height, int64_t width,
                                           int64_t block_size = 64);

}  // namespace glint
