// Statistics of key blocks on matrix units: one pass over keys and values gives means and moments.
//
// A thread block of kD / 16 warps takes a run of key blocks of one head. Warp w owns rows [16 w, 16 w + 16)
// of the moment H = sum (k - mean)^T v; the sum over the run stays in its registers beside the block's own.
//
//   keys [64,kD] | values [64,kD] | two halves of column sums [2,kD] | mean [kD] | norms
//
// The difference k - mean is taken in float32 and rounded to the element type for the product.
#pragma once

#include "ops/cuda/pool.cuh"
#include "ops/cuda/tile.cuh"

namespace glint::ops::cuda {

/// Grid: x = run, y = head. Blocks of 64 tokens, not padded.
template <typename T, int kD>
struct StatisticsMma {
  using Params = StatisticsParams;
  static constexpr int kThreads = 2 * kD, kMinBlocks = 1, kKeys = 64;
  static constexpr int kTileBytes = kKeys * kD * 2, kSums = 2 * kTileBytes, kMean = kSums + 2 * kD * 4,
                       kNorms = kMean + kD * 4, kSharedBytes = kNorms + 128;
  static int shared_bytes(const Params&) { return kSharedBytes; }

  GLINT_DEVICE void operator()(const Params& p) const {
    const int run = block_x(), h = block_y(), n = p.blocks.blocks(), last = smaller((run + 1) * p.run, n);
    float sum[kColumns][4] = {};
    for (int j = run * p.run; j < last; ++j) {
      const std::int64_t at = static_cast<std::int64_t>(h) * n + j;
      const Span span = span_of(p.blocks, h, j);
      copy(p, h, span);
      mean(0, p.d, p.d_pitch, span, p.key_mean + at * p.d_pitch, static_cast<T*>(p.key_mean16) + at * kD);
      mean(kTileBytes, p.e, p.e_pitch, span, p.value_mean + at * p.e_pitch,
           static_cast<T*>(p.value_mean16) + at * kD);
      if (thread_index() == 0) store(p.log2_weight + at, log2f(static_cast<float>(span.count)));
      centre(span);
      float own[kColumns][4] = {};
      multiply_block(own);
      float squares = 0.0f;
      GLINT_UNROLL
      for (int i = 0; i < kColumns; ++i) GLINT_UNROLL
      for (int c = 0; c < 4; ++c) {
        squares += own[i][c] * own[i][c];
        sum[i][c] += own[i][c];
      }
      const float total = block_sum<kThreads>(squares, kNorms);
      if (p.bias == Bias::Covariance && thread_index() == 0) store(p.spread + at, total);
      sync_block();
    }
    write(p, (static_cast<std::int64_t>(h) * ceil_div(n, p.run) + run) * p.d * p.e_pitch, sum);
  }

 private:
  static constexpr int kColumns = kD / 8;

  GLINT_DEVICE static void copy(const Params& p, int h, Span span) {
    const T *k = head_of<const T>(p.k, p.heads, h), *v = head_of<const T>(p.v, p.heads, h);
    copy_tile<T, kD, kKeys, kThreads>(0, k, p.d, [&](int r) -> const T* {
      return r < span.count ? k + (span.begin + r) * p.k.token_stride : nullptr;
    });
    copy_tile<T, kD, kKeys, kThreads>(kTileBytes, v, p.e, [&](int r) -> const T* {
      return r < span.count ? v + (span.begin + r) * p.v.token_stride : nullptr;
    });
    commit_async();
    wait_async<0>();
    sync_block();
  }

  GLINT_DEVICE static T element(std::uint32_t tile, int row, int column) {
    return load_shared<T>(tile + chunk_at<kD>(row, column / 8) + column % 8 * 2);
  }

  /// Column means; two threads a column, half of the rows each. Leaves the mean at kMean.
  GLINT_DEVICE static void mean(std::uint32_t tile, int size, int pitch, Span span, float* to, T* to16) {
    const int column = thread_index() % kD, half = thread_index() / kD;
    float sum = 0.0f;
    for (int r = 32 * half; r < 32 * half + 32; ++r) sum += to_float(element(tile, r, column));
    store_shared(kSums + (half * kD + column) * 4, sum);
    sync_block();
    if (half == 0) {
      const float m = (sum + load_shared<float>(kSums + (kD + column) * 4)) / static_cast<float>(span.count);
      if (tile == 0) store_shared(kMean + column * 4, m);
      if (column < pitch) store(to + column, column < size ? m : 0.0f);
      store(to16 + column, from_float<T>(m));
    }
    sync_block();
  }

  /// k - mean, in place; rows past a short block's end stay zero.
  GLINT_DEVICE static void centre(Span span) {
    const int column = thread_index() % kD;
    const auto m = load_shared<float>(kMean + column * 4);
    for (int r = thread_index() / kD; r < span.count; r += 2)
      store_shared(chunk_at<kD>(r, column / 8) + column % 8 * 2,
                   from_float<T>(to_float(element(0, r, column)) - m));
    sync_block();
  }

  GLINT_DEVICE static void multiply_block(float (&own)[kColumns][4]) {
    GLINT_UNROLL
    for (int step = 0; step < kKeys / 16; ++step) {
      std::uint32_t a[4];
      load_a_of_columns<kD>(0, step, thread_index() / 32, a);
      GLINT_UNROLL
      for (int pair = 0; pair < kColumns / 2; ++pair) {
        std::uint32_t b[4];
        load_b<kD>(kTileBytes, step, pair, b);
        multiply<T>(own[2 * pair], a, b[0], b[1]);
        multiply<T>(own[2 * pair + 1], a, b[2], b[3]);
      }
    }
  }

  GLINT_DEVICE static void write(const Params& p, std::int64_t at, const float (&sum)[kColumns][4]) {
    const int lane = thread_index() % 32;
    GLINT_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int r = thread_index() / 32 * 16 + lane / 4 + 8 * half;
      GLINT_UNROLL
      for (int i = 0; i < kColumns; ++i) {
        const int column = 8 * i + lane % 4 * 2;
        if (r >= p.d || column >= p.e_pitch) continue;
        store(reinterpret_cast<Pair*>(p.run_moment + at + static_cast<std::int64_t>(r) * p.e_pitch + column),
              Pair{{sum[i][2 * half], sum[i][2 * half + 1]}});
      }
    }
  }
};

}  // namespace glint::ops::cuda
