// Selection of key blocks: scores between block means, then the largest of each row.
//
// A warp owns a row. Its scores lie in shared memory as ordered integers; the smallest one that is selected
// is found from four histograms of eight bits, and one pass in ascending order writes the list and the mask.
// Ties go to the lowest index, NaN counts as -infinity.
#pragma once

#include "ops/cuda/pool.cuh"

namespace glint::ops::cuda {

/// Unsigned integers in the order of the floats.
GLINT_DEVICE std::uint32_t ordered(float x) {
  if (x != x) x = -INFINITY;
  x += 0.0f;  // -0 and 0 are a tie
  const std::uint32_t bits = float_bits(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/// What to take of a row: everything above `least`, and the first `ties` of those equal to it.
struct Cut {
  std::uint32_t least;
  int ties;
};

/// Where a bin lies: those that neighbouring lanes read together are neighbours.
GLINT_DEVICE std::uint32_t bin_at(std::uint32_t bins, std::uint32_t bin) {
  return bins + (bin % 8 * 32 + bin / 8) * 4;
}

/// Finds the `count` largest of `n` ordered values at `keys`, with 1 KB of histograms at `bins`. By one warp.
GLINT_DEVICE Cut find_cut(std::uint32_t keys, int n, int count, std::uint32_t bins) {
  const int lane = thread_index() % 32;
  std::uint32_t prefix = 0;
  int need = count;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = lane; i < 256; i += 32) store_shared(bins + i * 4, 0);
    sync_warp();
    const std::uint32_t above = shift == 24 ? 0u : 0xffffffffu << (shift + 8);
    for (int j = lane; j < n; j += 32) {
      const auto key = load_shared<std::uint32_t>(keys + j * 4);
      if ((key & above) == prefix) add_shared(bin_at(bins, key >> shift & 255), 1);
    }
    sync_warp();
    // Lane 0 holds the highest eight bins.
    int mine = 0;
    for (int i = 0; i < 8; ++i) mine += load_shared<int>(bin_at(bins, 255 - 8 * lane - i));
    int before = mine;
    for (int step = 1; step < 32; step *= 2) {
      const int other = shuffle(before, lane >= step ? lane - step : lane);
      if (lane >= step) before += other;
    }
    before -= mine;
    const std::uint32_t holds = ballot(before < need && need <= before + mine);
    int owner = 0;
    while (!(holds >> owner & 1)) ++owner;
    int bin = 255 - 8 * lane, left = need - before;
    if (lane == owner)
      for (int i = 0; i < 8; ++i, --bin) {
        const int held = load_shared<int>(bin_at(bins, bin));
        if (left <= held) break;
        left -= held;
      }
    need = shuffle(left, owner);
    prefix |= static_cast<std::uint32_t>(shuffle(bin, owner)) << shift;
    sync_warp();
  }
  return {prefix, need};
}

/// Grid: x = kRows rows, y = head. One warp per row.
template <int kRows>
struct Select {
  using Params = SelectParams;
  static constexpr int kThreads = 128, kMinBlocks = 2;
  static int shared_bytes(const Params& p) { return kRows * (p.d_pitch + p.n + 256) * 4; }

  GLINT_DEVICE void operator()(const Params& p) const {
    const int first = block_x() * kRows, h = block_y(), rows = smaller(kRows, p.rows - first);
    const std::uint32_t queries = 0, keys = kRows * p.d_pitch * 4, bins = keys + kRows * p.n * 4;
    for (int i = thread_index(); i < kRows * p.d_pitch; i += kThreads) {
      const int row = first + smaller(i / p.d_pitch, rows - 1);
      const int block = p.row_blocks ? load(p.row_blocks + static_cast<std::int64_t>(h) * p.rows + row) : row;
      store_shared(queries + i * 4,
                   load(p.query_mean + (static_cast<std::int64_t>(h) * p.query_blocks + block) * p.d_pitch +
                        i % p.d_pitch));
    }
    sync_block();
    for (int j = thread_index(); j < p.n; j += kThreads) score(p, h, j, queries, keys);
    sync_block();
    const int row = thread_index() / 32;
    if (row < rows)
      write(p, static_cast<std::int64_t>(h) * p.rows + first + row, keys + row * p.n * 4, bins + row * 1024);
  }

 private:
  GLINT_DEVICE static void score(const Params& p, int h, int j, std::uint32_t queries, std::uint32_t keys) {
    const std::int64_t at = static_cast<std::int64_t>(h) * p.n + j;
    float sum[kRows] = {};
    for (int i = 0; i < p.d_pitch; i += 4) {
      const Quad k = load(reinterpret_cast<const Quad*>(p.key_mean + at * p.d_pitch + i));
      GLINT_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const Quad q = load_shared<Quad>(queries + (r * p.d_pitch + i) * 4);
        for (int c = 0; c < 4; ++c) sum[r] += q.x[c] * k.x[c];
      }
    }
    const float bias = bias_of(p, at), weight = p.log2_weight ? exp2f(load(p.log2_weight + at)) : 1.0f;
    bool forced = false;
    for (int i = 0; i < p.forced_count; ++i) forced |= p.forced[i] == j;
    GLINT_UNROLL
    for (int r = 0; r < kRows; ++r)
      store_shared(keys + (r * p.n + j) * 4, ordered(forced ? INFINITY : p.scale * sum[r] * weight + bias));
  }

  GLINT_DEVICE static float bias_of(const Params& p, std::int64_t at) {
    if (p.bias == Bias::None) return 0.0f;
    float sum = 0.0f;
    for (int i = 0; i < p.spread_parts; ++i) sum += load(p.spread + at * p.spread_parts + i);
    return p.bias == Bias::Variance ? logf(fmaxf(sum, 1e-8f)) : logf(sqrtf(sum) + 1e-5f);
  }

  GLINT_DEVICE static void write(const Params& p, std::int64_t row, std::uint32_t keys, std::uint32_t bins) {
    const int lane = thread_index() % 32, words = ceil_div(p.n, 32);
    const Cut cut = find_cut(keys, p.n, p.count, bins);
    int written = 0, equal_seen = 0;
    for (int word = 0; word < words; ++word) {
      const int j = word * 32 + lane;
      const std::uint32_t key = j < p.n ? load_shared<std::uint32_t>(keys + j * 4) : 0u,
                          lower = (1u << lane) - 1;
      const bool equal = j < p.n && key == cut.least;
      const std::uint32_t equals = ballot(equal);
      const bool tied_in = equal && equal_seen + count_bits(equals & lower) < cut.ties;
      const bool taken = j < p.n && (key > cut.least || tied_in);
      const std::uint32_t bits = ballot(taken);
      if (taken) store(p.selected + row * p.count + written + count_bits(bits & lower), j);
      if (p.mask && lane == 0) store(p.mask + row * words + word, bits);
      written += count_bits(bits);
      equal_seen += count_bits(equals);
    }
  }
};

/// Grid: x = row, y = head.
struct MaskOfList {
  using Params = MaskParams;
  static constexpr int kThreads = 32, kMinBlocks = 1;
  static int shared_bytes(const Params&) { return 0; }

  GLINT_DEVICE void operator()(const Params& p) const {
    const std::int64_t row = static_cast<std::int64_t>(block_y()) * p.rows + block_x();
    const int words = ceil_div(p.n, 32);
    for (int word = thread_index(); word < words; word += kThreads) {
      std::uint32_t bits = 0;
      for (int i = 0; i < p.count; ++i) {
        const int j = load(p.selected + row * p.count + i);
        if (j >= 0 && j < p.n && j / 32 == word) bits |= 1u << j % 32;
      }
      store(p.mask + row * words + word, bits);
    }
  }
};

}  // namespace glint::ops::cuda
