// Computes all block statistics in one sweep over keys and values. Included once per instruction set.
#if defined(GLINT_OPS_STATISTICS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef GLINT_OPS_STATISTICS_INL
#undef GLINT_OPS_STATISTICS_INL
#else
#define GLINT_OPS_STATISTICS_INL
#endif

#include "ops/product-inl.hpp"
#include "ops/rows-inl.hpp"
#include "ops/workspace.hpp"

#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace glint::ops::HWY_NAMESPACE {

/// Computes the mean [columns] of rows `stride` apart.
HWY_INLINE void column_means(const float* rows, int64_t stride, int64_t count, int64_t columns,
                             float* HWY_RESTRICT mean) {
  std::memset(mean, 0, static_cast<size_t>(columns) * sizeof(float));
  for (int64_t r = 0; r < count; ++r)
    for (int64_t c = 0; c < columns; ++c) mean[c] += rows[r * stride + c];
  const float share = 1.0f / static_cast<float>(count);
  for (int64_t c = 0; c < columns; ++c) mean[c] *= share;
}

HWY_INLINE float sum_of(const float* x, int64_t n) {
  float sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum;
}

/// Adds the block's (k - mean)^T v to the running sum; returns its squared Frobenius norm.
HWY_INLINE float block_moment(const Statistics& t, int64_t j, Range block, const float* centred,
                              const float* v, int64_t v_stride) {
  const float* rows[kMaxBlockSize];
  for (int64_t i = 0; i < block.count; ++i) rows[i] = centred + i * t.d;
  float squares[kPad] = {};
  float* kept = t.moments ? t.moments + j * t.d * t.moment_stride : nullptr;
  for_each_block(t.d, round_up(t.e, kLanes),
                 MomentVisitor{rows, v, block.count, v_stride, t.moment_stride, t.moment_sum, kept, squares});
  return sum_of(squares, kPad);
}

HWY_INLINE void block_statistics(const Statistics& t, int64_t j, float* workspace) {
  const Range block = t.grid.block(j);
  const float *k = t.k + block.begin * t.k_stride, *v = t.v + block.begin * t.v_stride;
  const auto count = static_cast<float>(block.count);
  float* mean = t.key_mean + j * t.d;
  column_means(k, t.k_stride, block.count, t.d, mean);
  column_means(v, t.v_stride, block.count, t.e, t.value_mean + j * t.e);
  t.log2_weight[j] = std::log2(count);
  t.bias[j] = 0.0f;
  const bool variance = t.selection == BlockSelection::Variance;
  if (!t.need_moment && !variance) return;

  float* HWY_RESTRICT centred = workspace;
  for (int64_t r = 0; r < block.count; ++r)
    for (int64_t c = 0; c < t.d; ++c) centred[r * t.d + c] = k[r * t.k_stride + c] - mean[c];
  if (variance) {
    float sum = 0.0f;
    for (int64_t i = 0; i < block.count * t.d; ++i) sum += centred[i] * centred[i];
    t.bias[j] = std::log(std::max(sum / count, 1e-8f));
  }
  if (!t.need_moment) return;
  int64_t v_stride = t.v_stride;
  if (t.e % kLanes != 0) {  // the last vector would read past the row
    float* padded = workspace + t.grid.size * t.d;
    v_stride = round_up(t.e, kPad);
    std::memset(padded, 0, static_cast<size_t>(block.count * v_stride) * sizeof(float));
    for (int64_t r = 0; r < block.count; ++r)
      std::memcpy(padded + r * v_stride, v + r * t.v_stride, static_cast<size_t>(t.e) * sizeof(float));
    v = padded;
  }
  const float squared = block_moment(t, j, block, centred, v, v_stride);
  if (t.selection == BlockSelection::Covariance) t.bias[j] = std::log(std::sqrt(squared) + 1e-5f);
}

void statistics(const Statistics& task, float* workspace) {
  if (task.need_moment)
    std::memset(task.moment_sum, 0, static_cast<size_t>(task.d * task.moment_stride) * sizeof(float));
  for (int64_t j = task.first; j < task.last; ++j) block_statistics(task, j, workspace);
}

void scores(const float* q, int64_t queries, const float* k, int64_t keys, int64_t d, float scale, float* out,
            float* workspace) {
  float *q_tile = workspace, *tile = q_tile + kScoreTile * d, *max = tile + kScoreTile * keys;
  for (int64_t first = 0; first < queries; first += kScoreTile) {
    const int64_t count = std::min(kScoreTile, queries - first), width = round_up(count, kLanes);
    std::memset(q_tile, 0, static_cast<size_t>(d * width) * sizeof(float));
    transpose(q + first * d, d, count, d, scale, q_tile, width);
    std::fill(max, max + width, 0.0f);
    for (int64_t j = 0; j < keys; j += kChunk) {
      const int64_t chunk = std::min(kChunk, keys - j);
      const float* rows[kChunk];
      for (int64_t i = 0; i < chunk; ++i) rows[i] = k + (j + i) * d;
      for_each_block(chunk, width, ScoreVisitor{rows, nullptr, q_tile, d, width, tile + j * width, max});
    }
    transpose(tile, width, keys, count, 1.0f, out + first * keys, keys);
  }
}

}  // namespace glint::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
