// Register-blocked products: kRows x (vectors of lanes) accumulators, one broadcast and kRows x vectors FMAs
// per step. Included once per instruction set by Highway's foreach_target.
#if defined(GLINT_OPS_PRODUCT_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef GLINT_OPS_PRODUCT_INL
#undef GLINT_OPS_PRODUCT_INL
#else
#define GLINT_OPS_PRODUCT_INL
#endif

#include "ops/workspace.hpp"

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace glint::ops::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using FloatTag = hn::ScalableTag<float>;
using Vec = hn::Vec<FloatTag>;

constexpr int64_t kLanes = HWY_LANES(float);
constexpr int kRows = 6;
// 6 x 4 accumulators, 4 operands and a broadcast fill 32 registers; 6 x 2 fill 16.
constexpr int kVectors =
    HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON ? 4 : 2;

/// acc[r][n] += sum over k of a(r, k) * b[k * b_stride + n * lanes].
template <int R, int N, typename Broadcast>
HWY_INLINE void multiply(int64_t steps, Broadcast&& a, const float* HWY_RESTRICT b, int64_t b_stride,
                         Vec (&acc)[R][N]) {
  const FloatTag tag;
  for (int64_t k = 0; k < steps; ++k, b += b_stride) {
    Vec right[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) right[n] = hn::LoadU(tag, b + n * kLanes);
    const auto left = a(k);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const Vec x = hn::Set(tag, left[r]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) acc[r][n] = hn::MulAdd(x, right[n], acc[r][n]);
    }
  }
}

/// The R elements a step broadcasts: one column of R rows, or R columns of one row.
template <int R>
struct AcrossRows {
  const float* rows[R];
  struct Step {
    const float* const* rows;
    int64_t k;
    HWY_INLINE float operator[](int r) const { return rows[r][k]; }
  };
  HWY_INLINE Step operator()(int64_t k) const { return {rows, k}; }
};
struct AlongRow {
  const float* const* rows;
  int64_t column;
  HWY_INLINE const float* operator()(int64_t k) const { return rows[k] + column; }
};

/// Calls visit.template operator()<R, N>(row, column) for every register block of a rows x width result;
/// width is a multiple of the lanes. Rows are divided evenly, so that no block is much smaller than the
/// others.
template <int N, typename Visit>
HWY_INLINE void for_each_row_block(int64_t rows, int64_t column, const Visit& visit) {
  const int64_t blocks = (rows + kRows - 1) / kRows;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t row = i * rows / blocks;
    switch ((i + 1) * rows / blocks - row) {
      case 1: visit.template run<1, N>(row, column); break;
      case 2: visit.template run<2, N>(row, column); break;
      case 3: visit.template run<3, N>(row, column); break;
      case 4: visit.template run<4, N>(row, column); break;
      case 5: visit.template run<5, N>(row, column); break;
      default: visit.template run<6, N>(row, column); break;
    }
  }
}

template <typename Visit>
HWY_INLINE void for_each_block(int64_t rows, int64_t width, const Visit& visit) {
  int64_t column = 0;
  for (; column + kVectors * kLanes <= width; column += kVectors * kLanes)
    for_each_row_block<kVectors>(rows, column, visit);
  for (; column < width; column += kLanes) for_each_row_block<1>(rows, column, visit);
}

/// Terms summed before joining the total, so that a large sum of n terms is rounded n / 32 times, not n.
constexpr int64_t kSegment = 32;

/// total += the whole product, segment by segment; `a` yields the broadcasts from a given step.
template <int R, int N, typename From>
HWY_INLINE void multiply_segments(int64_t steps, const From& from, const float* b, int64_t b_stride,
                                  Vec (&total)[R][N]) {
  const FloatTag tag;
  for (int64_t first = 0; first < steps; first += kSegment) {
    Vec acc[R][N];
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) acc[r][n] = hn::Zero(tag);
    multiply<R, N>(HWY_MIN(kSegment, steps - first), from(first), b + first * b_stride, b_stride, acc);
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) total[r][n] = hn::Add(total[r][n], acc[r][n]);
  }
}

/// out [keys, width] = rows [keys, d] q [d, width] (+ bias per key); raises max [width] to the largest.
struct ScoreVisitor {
  const float* const* rows;
  const float* bias;  // or null
  const float* q;
  int64_t d, width;
  float* out;
  float* max;
  const float* const* ahead =
      nullptr;  // the next rows, to prefetch: too far apart for the hardware prefetcher
  int64_t ahead_columns = 0;

  template <int R, int N>
  HWY_INLINE void run(int64_t row, int64_t column) const {
    const FloatTag tag;
    for (int r = 0; ahead && column == 0 && r < R; ++r)
      for (int64_t c = 0; c < ahead_columns; c += kPad) hwy::Prefetch(ahead[row + r] + c);
    Vec total[R][N];
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) total[r][n] = hn::Set(tag, bias ? bias[row + r] : 0.0f);
    const auto from = [this, row](int64_t first) {
      AcrossRows<R> a;
      for (int r = 0; r < R; ++r) a.rows[r] = rows[row + r] + first;
      return a;
    };
    multiply_segments<R, N>(d, from, q + column, width, total);
    for (int n = 0; n < N; ++n) {
      Vec top = hn::LoadU(tag, max + column + n * kLanes);
      for (int r = 0; r < R; ++r) {
        top = hn::Max(top, total[r][n]);
        hn::StoreU(total[r][n], tag, out + (row + r) * width + column + n * kLanes);
      }
      hn::StoreU(top, tag, max + column + n * kLanes);
    }
  }
};

/// out [columns of the rows, width] += rows^T weights [steps, width].
struct AccumulateVisitor {
  const float* const* rows;
  const float* weights;
  int64_t steps, width, out_stride;
  float* out;

  template <int R, int N>
  HWY_INLINE void run(int64_t row, int64_t column) const {
    const FloatTag tag;
    Vec acc[R][N];
    float* HWY_RESTRICT c = out + row * out_stride + column;
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) acc[r][n] = hn::LoadU(tag, c + r * out_stride + n * kLanes);
    const auto from = [this, row](int64_t first) { return AlongRow{rows + first, row}; };
    multiply_segments<R, N>(steps, from, weights + column, width, acc);
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) hn::StoreU(acc[r][n], tag, c + r * out_stride + n * kLanes);
  }
};

/// moment [D, E] = centred^T v; adds it to sum and its squares to squares [lanes], and optionally stores it.
struct MomentVisitor {
  const float* const* centred;
  const float* v;
  int64_t steps, v_stride, stride;
  float* sum;
  float* kept;  // or null
  float* squares;

  template <int R, int N>
  HWY_INLINE void run(int64_t row, int64_t column) const {
    const FloatTag tag;
    Vec acc[R][N];
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) acc[r][n] = hn::Zero(tag);
    multiply<R, N>(steps, AlongRow{centred, row}, v + column, v_stride, acc);
    Vec square = hn::LoadU(tag, squares);
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) {
        const int64_t at = (row + r) * stride + column + n * kLanes;
        square = hn::MulAdd(acc[r][n], acc[r][n], square);
        hn::StoreU(hn::Add(acc[r][n], hn::LoadU(tag, sum + at)), tag, sum + at);
        if (kept) hn::StoreU(acc[r][n], tag, kept + at);
      }
    hn::StoreU(square, tag, squares);
  }
};

}  // namespace glint::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
