// How tokens are cut into blocks, and how many blocks are selected.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace glint::ops {

constexpr int64_t kMaxHeadSize = 256;
constexpr int64_t kMaxBlockSize = 256;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// A range of consecutive tokens.
struct Range {
  int64_t begin, count;
};

/// Blocks of `size` tokens; the last may be short.
struct Grid {
  int64_t tokens, size;

  int64_t blocks() const { return ceil_div(tokens, size); }
  Range block(int64_t j) const { return {j * size, std::min(size, tokens - j * size)}; }
};

/// Returns trunc(share * blocks) clamped to [1, blocks], in double: a float share gives different budgets at
/// some sizes.
inline int64_t budget(double share, int64_t blocks) {
  return std::clamp<int64_t>(static_cast<int64_t>(share * static_cast<double>(blocks)), 1, blocks);
}

/// ISA's blocks: main ones, then context ones.
///
/// Aligned grids cut both parts separately. Padded ones follow the released code: one grid over everything,
/// so the first context block starts with the main tokens left over by the last whole block.
struct IsaGrid {
  static constexpr int64_t kBlock = 64;
  int64_t main, tokens;
  bool padded;

  int64_t main_blocks() const { return padded ? main / kBlock : ceil_div(main, kBlock); }
  int64_t context_blocks() const {
    return padded ? ceil_div(tokens, kBlock) - main_blocks() : ceil_div(tokens - main, kBlock);
  }
  int64_t blocks() const { return main_blocks() + context_blocks(); }
  Range block(int64_t i) const {
    if (padded || i < main_blocks()) {
      const int64_t end = padded ? tokens : main;
      return {i * kBlock, std::min(kBlock, end - i * kBlock)};
    }
    const int64_t begin = main + (i - main_blocks()) * kBlock;
    return {begin, std::min(kBlock, tokens - begin)};
  }
  int64_t kept(double share) const {
    return std::min(static_cast<int64_t>(share * static_cast<double>(context_blocks())), context_blocks());
  }
  int64_t sharp(double share) const {
    return std::min(static_cast<int64_t>(share * static_cast<double>(blocks())), blocks());
  }
  /// Returns the number of kept key blocks a diffuse query block reads exactly; the released code counts only
  /// whole blocks of 64.
  int64_t exact(double share, int64_t kept_blocks) const {
    const int64_t whole = padded ? (main + kBlock * kept_blocks) / kBlock : kept_key_blocks(kept_blocks);
    return std::min(budget(share, std::max<int64_t>(whole, 1)), kept_key_blocks(kept_blocks));
  }
  int64_t kept_key_blocks(int64_t kept_blocks) const {
    return padded ? ceil_div(main + kBlock * kept_blocks, kBlock) : main_blocks() + kept_blocks;
  }
};

/// The keys ISA keeps for one head: their tokens (-1 = a padded block's zero key) and blocks.
struct KeptKeys {
  std::vector<int32_t> tokens;
  std::vector<Range> blocks;   ///< ranges in `tokens`
  std::vector<float> weights;  ///< weight of each block's mean: its length, 64 in padded mode
};

inline KeptKeys kept_keys(const IsaGrid& grid, const int32_t* context, int64_t count) {
  KeptKeys keys;
  for (int64_t i = 0; i < grid.main; ++i) keys.tokens.push_back(static_cast<int32_t>(i));
  if (!grid.padded)
    for (int64_t i = 0; i < grid.main_blocks(); ++i) keys.blocks.push_back(grid.block(i));
  for (int64_t c = 0; c < count; ++c) {
    const Range block = grid.block(grid.main_blocks() + context[c]);
    if (!grid.padded) keys.blocks.push_back({static_cast<int64_t>(keys.tokens.size()), block.count});
    for (int64_t i = 0; i < (grid.padded ? IsaGrid::kBlock : block.count); ++i)
      keys.tokens.push_back(i < block.count ? static_cast<int32_t>(block.begin + i) : -1);
  }
  if (grid.padded) {
    const Grid cut{static_cast<int64_t>(keys.tokens.size()), IsaGrid::kBlock};
    for (int64_t j = 0; j < cut.blocks(); ++j) keys.blocks.push_back(cut.block(j));
  }
  for (const Range& block : keys.blocks)
    keys.weights.push_back(static_cast<float>(grid.padded ? IsaGrid::kBlock : block.count));
  return keys;
}

}  // namespace glint::ops
