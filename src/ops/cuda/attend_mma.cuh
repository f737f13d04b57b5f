// Attention on matrix units: blocks of 64 tokens, 16-bit elements, head sizes up to kD.
//
// A thread block of four warps takes one query block of one head, 16 rows a warp. Tiles of 64 keys go through
// two rings in shared memory, filled by asynchronous copies ahead of their use:
//
//   keys [kKeyStages,64,kD] | values [kValueStages,64,kD] | bias [64]
//   queries' fragments, scores [16,64], result [16,kD]                       in the warps' registers
//
// Tiles are the row's exact key blocks, then groups of 64 block means, whose scores carry the logarithm of
// what the mean stands for, or -infinity if it was read exactly. After them, one product with the shared
// moment.
//
// A tile of 64 keys costs 2 * 64 * 64 * kD multiply-adds on the matrix units and reads 2 * 64 * kD * 2 bytes.
#pragma once

#include "ops/cuda/attend_plain.cuh"
#include "ops/cuda/softmax.cuh"
#include "ops/cuda/tile.cuh"

namespace glint::ops::cuda {

/// Grid: x = row, y = head.
template <typename T, int kD, int kKeyStages, int kValueStages>
struct AttendMma {
  using Params = AttendParams;
  static constexpr int kThreads = 128, kMinBlocks = 2, kKeys = 64;
  static constexpr int kTileBytes = kKeys * kD * 2;
  static constexpr int kValues = kKeyStages * kTileBytes, kBias = kValues + kValueStages * kTileBytes;
  static constexpr int kSharedBytes = kBias + kKeys * 4;
  static_assert(kKeyStages >= 2 && kValueStages >= 1);
  static_assert(kD * kD * 2 <= kKeyStages * kTileBytes, "the moment takes the keys' place");
  static int shared_bytes(const Params&) { return kSharedBytes; }

  GLINT_DEVICE void operator()(const Params& p) const {
    Task t{p, block_y(), row_of_blocks(p, block_y(), block_x())};
    t.means = t.row.selected && p.mask;
    t.tiles = t.row.count + (t.means ? ceil_div(p.keys.blocks(), kKeys) : 0);
    const Span span = span_of(p.queries, t.h, t.row.block);
    t.start(span);
    for (int i = 0; i < t.tiles; ++i) t.read_tile(i);
    t.softmax.finish();
    if (t.means && p.moment16) t.add_moment();
    t.write(span);
  }

 private:
  static constexpr int kSteps = kD / 16, kGroups = kKeys / 8, kColumns = kD / 8;
  /// Copies begin this many tiles ahead.
  static constexpr int kAhead = kKeyStages > kValueStages ? kKeyStages - 1 : kValueStages - 1;

  struct Task {
    const Params& p;
    int h;
    RowOfBlocks row;
    bool means = false;
    int tiles = 0;
    Softmax softmax = {};
    std::uint32_t q[kSteps][4] = {};
    float out[kColumns][4] = {};

    GLINT_DEVICE int warp_row() const { return thread_index() / 32 * 16; }

    /// Starts the copies of the first tiles and takes the queries, which lie where the last value stage will.
    GLINT_DEVICE void start(Span span) {
      constexpr std::uint32_t at = kValues + (kValueStages - 1) * kTileBytes;
      const T* from = head_of<const T>(p.q, p.heads, h) + span.begin * p.q.token_stride;
      copy_tile<T, kD, kKeys, kThreads>(
          at, from, p.d, [&](int r) { return r < span.count ? from + r * p.q.token_stride : nullptr; });
      commit_async();
      GLINT_UNROLL
      for (int i = -kAhead; i < 0; ++i) fetch(i);
      wait_async<2 * kAhead>();
      sync_block();
      const std::uint32_t flip = p.sign < 0 ? 0x80008000u : 0u, keep = p.sign == 0 ? 0u : 0xffffffffu;
      GLINT_UNROLL
      for (int step = 0; step < kSteps; ++step) {
        load_a<kD>(at, warp_row(), step, q[step]);
        GLINT_UNROLL
        for (int i = 0; i < 4; ++i) q[step][i] = (q[step][i] ^ flip) & keep;
      }
    }

    /// Starts the copies that are due at tile i: two groups, of values and of keys.
    GLINT_DEVICE void fetch(int i) {
      const int values = i + kValueStages - 1, keys = i + kKeyStages - 1;
      if (values >= 0 && values < tiles)
        copy_keys(kValues + values % kValueStages * kTileBytes, p.v, p.e, p.value_mean16, values);
      commit_async();
      if (keys >= 0 && keys < tiles) copy_keys(keys % kKeyStages * kTileBytes, p.k, p.d, p.key_mean16, keys);
      commit_async();
    }

    GLINT_DEVICE int exact_block(int tile) const { return row.selected ? load(row.selected + tile) : tile; }

    GLINT_DEVICE void copy_keys(std::uint32_t at, const Strided& x, int size, const void* mean16, int tile) {
      if (tile >= row.count) {
        const int first = (tile - row.count) * kKeys, n = p.keys.blocks();
        const T* from = static_cast<const T*>(mean16) + (static_cast<std::int64_t>(h) * n + first) * kD;
        copy_tile<T, kD, kKeys, kThreads>(at, from, kD,
                                          [&](int r) { return first + r < n ? from + r * kD : nullptr; });
        return;
      }
      const T* from = head_of<const T>(x, p.heads, h);
      const int j = exact_block(tile);
      const Span span = j >= 0 && j < p.keys.blocks() ? span_of(p.keys, h, j) : Span{0, 0};
      copy_tile<T, kD, kKeys, kThreads>(at, from, size, [&](int r) -> const T* {
        const int token = r < span.count ? token_of(p.keys, h, span, r) : -1;
        return token >= 0 ? from + token * x.token_stride : nullptr;
      });
    }

    GLINT_DEVICE void read_tile(int i) {
      const bool exact = i < row.count;
      if (!exact) write_bias(i - row.count);
      wait_async<2 * (kKeyStages - 2)>();
      sync_block();
      fetch(i);
      float scores[kGroups][4] = {};
      multiply_keys(i % kKeyStages * kTileBytes, scores);
      if (exact)
        drop_missing(i, scores);
      else
        add_bias(scores);
      softmax.take_in(scores, out, p.rate, exact);
      wait_async<1 + 2 * (kValueStages - 1)>();
      sync_block();
      multiply_values(kValues + i % kValueStages * kTileBytes, scores);
    }

    GLINT_DEVICE void multiply_keys(std::uint32_t at, float (&scores)[kGroups][4]) const {
      GLINT_UNROLL
      for (int step = 0; step < kSteps; ++step) GLINT_UNROLL
      for (int pair = 0; pair < kGroups / 2; ++pair) {
        std::uint32_t b[4];
        load_b_of_rows<kD>(at, pair, step, b);
        multiply<T>(scores[2 * pair], q[step], b[0], b[1]);
        multiply<T>(scores[2 * pair + 1], q[step], b[2], b[3]);
      }
    }

    GLINT_DEVICE void multiply_values(std::uint32_t at, const float (&weights)[kGroups][4]) {
      GLINT_UNROLL
      for (int step = 0; step < kGroups / 2; ++step) {
        const auto &low = weights[2 * step], &high = weights[2 * step + 1];
        const std::uint32_t a[4] = {pack<T>(low[0], low[1]), pack<T>(low[2], low[3]),
                                    pack<T>(high[0], high[1]), pack<T>(high[2], high[3])};
        GLINT_UNROLL
        for (int pair = 0; pair < kColumns / 2; ++pair) {
          std::uint32_t b[4];
          load_b<kD>(at, step, pair, b);
          multiply<T>(out[2 * pair], a, b[0], b[1]);
          multiply<T>(out[2 * pair + 1], a, b[2], b[3]);
        }
      }
    }

    /// Scores of places past a short block's end become -infinity.
    GLINT_DEVICE void drop_missing(int tile, float (&scores)[kGroups][4]) const {
      const int j = exact_block(tile);
      const int count = j >= 0 && j < p.keys.blocks() ? span_of(p.keys, h, j).count : 0;
      if (count >= kKeys) return;
      const int first = thread_index() % 4 * 2;
      GLINT_UNROLL
      for (int i = 0; i < kGroups; ++i) GLINT_UNROLL
      for (int c = 0; c < 4; ++c)
        if (8 * i + first + c % 2 >= count) scores[i][c] = -INFINITY;
    }

    /// Of the last tile's bias nobody reads any more: values are multiplied after a barrier.
    GLINT_DEVICE void write_bias(int tile) const {
      const int i = thread_index();
      if (i >= kKeys) return;
      const int n = p.keys.blocks(), j = tile * kKeys + i;
      float bias = -INFINITY;
      if (j < n && !(load(p.mask + row.mask * ceil_div(n, 32) + j / 32) >> j % 32 & 1))
        bias = load(p.log2_weight + static_cast<std::int64_t>(h) * n + j) / p.rate;
      store_shared(kBias + i * 4, bias);
    }

    GLINT_DEVICE void add_bias(float (&scores)[kGroups][4]) const {
      const int first = thread_index() % 4 * 2;
      GLINT_UNROLL
      for (int i = 0; i < kGroups; ++i) {
        const auto bias = load_shared<Pair>(kBias + (8 * i + first) * 4);
        scores[i][0] += bias.x[0];
        scores[i][1] += bias.x[1];
        scores[i][2] += bias.x[0];
        scores[i][3] += bias.x[1];
      }
    }

    /// out += mass * (q moment), eight columns at a time.
    GLINT_DEVICE void add_moment() {
      wait_async<0>();
      sync_block();
      const T* from = static_cast<const T*>(p.moment16) + static_cast<std::int64_t>(h) * kD * kD;
      copy_tile<T, kD, kD, kThreads>(0, from, kD, [&](int r) { return from + r * kD; });
      commit_async();
      wait_async<0>();
      sync_block();
      GLINT_UNROLL
      for (int pair = 0; pair < kColumns / 2; ++pair) {
        float product[2][4] = {};
        GLINT_UNROLL
        for (int step = 0; step < kSteps; ++step) {
          std::uint32_t b[4];
          load_b<kD>(0, step, pair, b);
          multiply<T>(product[0], q[step], b[0], b[1]);
          multiply<T>(product[1], q[step], b[2], b[3]);
        }
        GLINT_UNROLL
        for (int i = 0; i < 2; ++i) GLINT_UNROLL
        for (int c = 0; c < 4; ++c) out[2 * pair + i][c] += softmax.mass[c / 2] * product[i][c];
      }
    }

    /// Divides, adds the gated coarse attention, and writes rows through shared memory, 16 bytes a lane.
    GLINT_DEVICE void write(Span span) {
      wait_async<0>();
      sync_block();
      const int lane = thread_index() % 32, first = lane % 4 * 2;
      GLINT_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int r = warp_row() + lane / 4 + 8 * half;
        const float share = 1.0f / (softmax.sum[half] + softmax.mass[half]);
        const float gate = p.gate && r < span.count ? gate_of(span.begin + r) : 0.0f;
        const float* coarse =
            p.coarse + (static_cast<std::int64_t>(h) * p.queries.blocks() + row.block) * p.e_pitch + first;
        GLINT_UNROLL
        for (int i = 0; i < kColumns; ++i) {
          float low = out[i][2 * half] * share, high = out[i][2 * half + 1] * share;
          if (p.gate && 8 * i < p.e) {
            low += gate * load(coarse + 8 * i);
            high += gate * load(coarse + 8 * i + 1);
          }
          store_shared(chunk_at<kD>(r, i) + first * 2, pack<T>(low, high));
        }
      }
      sync_warp();
      T* to = head_of<T>(p.out, p.heads, h) + span.begin * p.out.token_stride;
      GLINT_UNROLL
      for (int i = lane; i < 16 * kColumns; i += 32) {
        const int r = warp_row() + i / kColumns, chunk = i % kColumns;
        if (r < span.count && 8 * chunk < p.e)
          store(reinterpret_cast<Quad*>(to + r * p.out.token_stride + chunk * 8),
                load_shared<Quad>(chunk_at<kD>(r, chunk)));
      }
    }

    GLINT_DEVICE float gate_of(int token) const {
      return load(p.gate + h / p.heads * p.gate_batch + h % p.heads * p.gate_head + token * p.gate_token);
    }
  };
};

}  // namespace glint::ops::cuda
