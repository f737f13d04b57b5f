// Block means in float32, and the statistics of key blocks for any element type and size.
//
// pool:        a thread block per block of tokens; threads are columns
// statistics:  the same for keys and values, with the variance
// moments:     a thread block per run of key blocks and tile of 16 rows of H = sum (k - mean)^T v; threads
// are
//              columns of a row; rows of K and V come from the caches
#pragma once

#include "ops/cuda/blocks.cuh"

namespace glint::ops::cuda {

/// Sum over the warp's lanes, in every lane.
GLINT_DEVICE float warp_sum(float x) {
  for (int step = 16; step > 0; step /= 2) x += shuffle_xor(x, step);
  return x;
}
GLINT_DEVICE float warp_max(float x) {
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, shuffle_xor(x, step));
  return x;
}

/// Sum over a block of kThreads, in every thread. Uses kThreads / 8 bytes of shared memory from `at`.
template <int kThreads>
GLINT_DEVICE float block_sum(float x, std::uint32_t at) {
  x = warp_sum(x);
  sync_block();
  if (thread_index() % 32 == 0) store_shared(at + thread_index() / 32 * 4, x);
  sync_block();
  float sum = 0.0f;
  for (int w = 0; w < kThreads / 32; ++w) sum += load_shared<float>(at + w * 4);
  return sum;
}

template <typename T>
GLINT_DEVICE float column_mean(const T* x, std::int64_t stride, const Blocks& b, int h, Span span,
                               int column) {
  float sum = 0.0f;
  for (int r = 0; r < span.count; ++r) {
    const int token = token_of(b, h, span, r);
    if (token >= 0) sum += to_float(load(x + token * stride + column));
  }
  return sum / weight_of(b, span);
}

/// Grid: x = block, y = head.
template <typename T>
struct Pool {
  using Params = PoolParams;
  static constexpr int kThreads = 128, kMinBlocks = 4;
  static int shared_bytes(const Params&) { return 0; }

  GLINT_DEVICE void operator()(const Params& p) const {
    const int j = block_x(), h = block_y();
    const Span span = span_of(p.blocks, h, j);
    const T* x = head_of<const T>(p.x, p.heads, h);
    float* mean = p.mean + (static_cast<std::int64_t>(h) * p.blocks.blocks() + j) * p.pitch;
    for (int c = thread_index(); c < p.pitch; c += kThreads)
      store(mean + c, c < p.size ? column_mean(x, p.x.token_stride, p.blocks, h, span, c) : 0.0f);
  }
};

/// Grid: x = block, y = head.
template <typename T>
struct Statistics {
  using Params = StatisticsParams;
  static constexpr int kThreads = 128, kMinBlocks = 4;
  static int shared_bytes(const Params&) { return kThreads / 8; }

  GLINT_DEVICE void operator()(const Params& p) const {
    const int j = block_x(), h = block_y();
    const std::int64_t at = static_cast<std::int64_t>(h) * p.blocks.blocks() + j;
    const Span span = span_of(p.blocks, h, j);
    const float squares =
        means(p, head_of<const T>(p.k, p.heads, h), p.k.token_stride, h, span, p.d, p.d_pitch,
              p.key_mean + at * p.d_pitch, p.key_mean16, at, p.bias == Bias::Variance);
    means(p, head_of<const T>(p.v, p.heads, h), p.v.token_stride, h, span, p.e, p.e_pitch,
          p.value_mean + at * p.e_pitch, p.value_mean16, at, false);
    if (p.bias == Bias::Variance) {
      const float sum = block_sum<kThreads>(squares, 0);
      if (thread_index() == 0) store(p.spread + at, sum / static_cast<float>(span.count));
    }
    if (thread_index() == 0) store(p.log2_weight + at, log2f(weight_of(p.blocks, span)));
  }

 private:
  /// Returns the sum of squared distances to the mean over this thread's columns.
  GLINT_DEVICE static float means(const Params& p, const T* x, std::int64_t stride, int h, Span span,
                                  int size, int pitch, float* mean, void* mean16, std::int64_t at,
                                  bool variance) {
    float squares = 0.0f;
    for (int c = thread_index(); c < (p.tile > pitch ? p.tile : pitch); c += kThreads) {
      const float m = c < size ? column_mean(x, stride, p.blocks, h, span, c) : 0.0f;
      if (c < pitch) store(mean + c, m);
      if constexpr (sizeof(T) == 2)
        if (c < p.tile) store(static_cast<T*>(mean16) + at * p.tile + c, from_float<T>(m));
      for (int r = 0; variance && c < size && r < span.count; ++r) {
        const int token = token_of(p.blocks, h, span, r);
        const float centred = (token < 0 ? 0.0f : to_float(load(x + token * stride + c))) - m;
        squares += centred * centred;
      }
    }
    return squares;
  }
};

/// Grid: x = run * moment_tiles + tile, y = head. After Statistics.
template <typename T>
struct Moments {
  using Params = StatisticsParams;
  static constexpr int kThreads = 128, kMinBlocks = 4, kRows = 16;
  static int shared_bytes(const Params&) { return kThreads / 8; }

  GLINT_DEVICE void operator()(const Params& p) const {
    const int run = block_x() / p.moment_tiles, tile = block_x() % p.moment_tiles, h = block_y();
    const int n = p.blocks.blocks(), runs = ceil_div(n, p.run), last = smaller((run + 1) * p.run, n);
    const int first_row = tile * kRows, rows = smaller(kRows, p.d - first_row);
    float* sum = p.run_moment + (static_cast<std::int64_t>(h) * runs + run) * p.d * p.e_pitch;
    for (int j = run * p.run; j < last; ++j) {
      const std::int64_t at = static_cast<std::int64_t>(h) * n + j;
      float squares = 0.0f;
      for (int i = thread_index(); i < rows * p.e_pitch; i += kThreads) {
        const int row = first_row + i / p.e_pitch, column = i % p.e_pitch;
        const float x = column < p.e ? element(p, h, j, at, row, column) : 0.0f;
        squares += x * x;
        const std::int64_t to = static_cast<std::int64_t>(row) * p.e_pitch + column;
        store(sum + to, j == run * p.run ? x : load(sum + to) + x);
        if (p.moments) store(p.moments + at * p.d * p.e_pitch + to, x);
      }
      if (p.bias != Bias::Covariance) continue;
      const float total = block_sum<kThreads>(squares, 0);
      if (thread_index() == 0) store(p.spread + at * p.moment_tiles + tile, total);
    }
  }

 private:
  GLINT_DEVICE static float element(const Params& p, int h, int j, std::int64_t at, int row, int column) {
    const Span span = span_of(p.blocks, h, j);
    const T* k = head_of<const T>(p.k, p.heads, h) + row;
    const T* v = head_of<const T>(p.v, p.heads, h) + column;
    const float mean = load(p.key_mean + at * p.d_pitch + row);
    float sum = 0.0f;
    for (int r = 0; r < span.count; ++r) {
      const std::int64_t token = span.begin + r;
      sum += (to_float(load(k + token * p.k.token_stride)) - mean) *
             to_float(load(v + token * p.v.token_stride));
    }
    return sum;
  }
};

/// Grid: x = 256 elements, y = head.
template <typename T>
struct MomentSum {
  using Params = MomentSumParams;
  static constexpr int kThreads = 256, kMinBlocks = 4;
  static int shared_bytes(const Params&) { return 0; }

  GLINT_DEVICE void operator()(const Params& p) const {
    const int h = block_y(), width = p.tile > p.e_pitch ? p.tile : p.e_pitch;
    const int i = block_x() * kThreads + thread_index(), row = i / width, column = i % width;
    const std::int64_t size = static_cast<std::int64_t>(p.d) * p.e_pitch;
    const bool inside = row < p.d && column < p.e_pitch;
    float sum = 0.0f;
    for (int run = 0; inside && run < p.runs; ++run)
      sum += load(p.run_moment + (static_cast<std::int64_t>(h) * p.runs + run) * size + row * p.e_pitch +
                  column);
    sum *= p.factor;
    if (inside) store(p.moment + h * size + row * p.e_pitch + column, sum);
    if constexpr (sizeof(T) == 2)
      if (p.moment16 && row < p.tile && column < p.tile)
        store(static_cast<T*>(p.moment16) + (static_cast<std::int64_t>(h) * p.tile + row) * p.tile + column,
              from_float<T>(sum));
  }
};

}  // namespace glint::ops::cuda
