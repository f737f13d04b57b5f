// Attention of one query tile. Included once per instruction set.
//
//   q^T [D,W] scaled by a power of two | P^T [128,W] | O^T [E,W] | maximum, sum, mass, rescale factor [W]
//
// At block size 64 and D = E = 128 that is 96 KB, plus one chunk of 128 keys and values: it fits in L2. Per
// chunk: scores, then one pass for exponentials and their sums, then the product with the values.
#if defined(GLINT_OPS_ATTEND_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef GLINT_OPS_ATTEND_INL
#undef GLINT_OPS_ATTEND_INL
#else
#define GLINT_OPS_ATTEND_INL
#endif

#include "ops/product-inl.hpp"
#include "ops/rows-inl.hpp"
#include "ops/workspace.hpp"

#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace glint::ops::HWY_NAMESPACE {

/// p = 2^(rate (p - max)) for `keys` rows of W queries, and sum += their column sums. Subtracts first, which
/// is exact for the keys that matter.
HWY_INLINE void exponentials(float* p, int64_t keys, int64_t width, const float* max, float rate,
                             float* sum) {
  const FloatTag tag;
  const Vec factor = hn::Set(tag, rate);
  const auto power = [&](Vec x, Vec top) { return exp2(hn::Mul(factor, hn::Sub(x, top))); };
  for (int64_t w = 0; w < width; w += kLanes) {
    const Vec top = hn::LoadU(tag, max + w);
    Vec even = hn::Zero(tag), odd = hn::Zero(tag);
    float* HWY_RESTRICT x = p + w;
    int64_t i = 0;
    for (; i + 2 <= keys; i += 2, x += 2 * width) {
      const Vec a = power(hn::LoadU(tag, x), top), b = power(hn::LoadU(tag, x + width), top);
      hn::StoreU(a, tag, x);
      hn::StoreU(b, tag, x + width);
      even = hn::Add(even, a);
      odd = hn::Add(odd, b);
    }
    if (i < keys) {
      const Vec a = power(hn::LoadU(tag, x), top);
      hn::StoreU(a, tag, x);
      even = hn::Add(even, a);
    }
    hn::StoreU(hn::Add(hn::LoadU(tag, sum + w), hn::Add(even, odd)), tag, sum + w);
  }
}

class TileRun {
 public:
  TileRun(const Tile& tile, float* workspace) : t_(tile), width_(round_up(tile.queries, kLanes)) {
    const auto take = [&workspace](int64_t floats) { return std::exchange(workspace, workspace + floats); };
    q_ = take(t_.d * width_);
    p_ = take(std::max(kChunk, t_.d) * width_);
    out_ = take(t_.e * width_);
    max_ = take(width_);
    raised_ = take(width_);
    sum_ = take(width_);
    mass_ = take(width_);
    rows_ = workspace;
    // Base-2 logits are rate * (q 2^exponent) . k. Scaling queries by a power of two (and a sign) is exact.
    int exponent = 0;
    const double logit_scale = t_.scale * kLog2E;
    rate_ = static_cast<float>(2.0 * std::abs(std::frexp(logit_scale, &exponent)));
    if (rate_ == 0.0f) rate_ = 1.0f;
    query_scale_ = static_cast<float>(
        logit_scale == 0.0 ? 0.0 : std::copysign(std::ldexp(1.0, exponent - 1), logit_scale));
  }

  void run() {
    load_queries();
    std::memset(out_, 0, static_cast<size_t>(t_.e * width_) * sizeof(float));
    std::memset(sum_, 0, static_cast<size_t>(2 * width_) * sizeof(float));
    std::fill(max_, max_ + width_, -1e30f);
    read(t_.exact, t_.exact_runs, sum_);
    read(t_.means, t_.mean_runs, mass_);
    if (t_.moment && t_.mean_runs > 0) add_shared_first_order();
    if (t_.moments) add_first_orders();
    divide();
    store();
  }

 private:
  void load_queries() {
    const float* rows = static_cast<const float*>(t_.q.data);
    int64_t stride = t_.q.stride;
    if (t_.q.element != Element::Float32) {
      HWY_NAMESPACE::load_rows(t_.q, t_.queries, t_.d, rows_, t_.d);
      rows = rows_;
      stride = t_.d;
    }
    if (width_ != t_.queries) std::memset(q_, 0, static_cast<size_t>(t_.d * width_) * sizeof(float));
    transpose(rows, stride, t_.queries, t_.d, query_scale_, q_, width_);
  }

  /// Processes all rows of the runs in chunks; adds their exponentials to `sum`.
  void read(const KeyRun* runs, int64_t count, float* sum) {
    int64_t filled = 0;
    bool weighted = false;
    for (int64_t r = 0; r < count; ++r) {
      const KeyRun& run = runs[r];
      for (int64_t i = 0; i < run.count; ++i) {
        k_[filled] = run.k + i * run.k_stride;
        v_[filled] = run.v + i * run.v_stride;
        weighted = run.log2_weight != nullptr;
        if (weighted) bias_[filled] = run.log2_weight[i] / rate_;
        if (++filled == kChunk) {
          take_in(filled, weighted, sum);
          filled = 0;
        }
      }
    }
    if (filled > 0) take_in(filled, weighted, sum);
  }

  void take_in(int64_t keys, bool weighted, float* sum) {
    std::memcpy(raised_, max_, static_cast<size_t>(width_) * sizeof(float));
    for_each_block(keys, width_,
                   ScoreVisitor{k_, weighted ? bias_ : nullptr, q_, t_.d, width_, p_, raised_, v_, t_.e});
    rescale();
    exponentials(p_, keys, width_, max_, rate_, sum);
    for_each_block(t_.e, width_, AccumulateVisitor{v_, p_, keys, width_, width_, out_});
  }

  /// Scales down what was accumulated under a lower maximum: values, sum and the mass of the means.
  void rescale() {
    const FloatTag tag;
    for (int64_t w = 0; w < width_; w += kLanes) {
      const Vec before = hn::LoadU(tag, max_ + w), now = hn::LoadU(tag, raised_ + w);
      if (hn::AllTrue(tag, hn::Eq(before, now))) continue;
      const Vec factor = exp2(hn::Mul(hn::Set(tag, rate_), hn::Sub(before, now)));
      hn::StoreU(now, tag, max_ + w);
      hn::StoreU(hn::Mul(factor, hn::LoadU(tag, sum_ + w)), tag, sum_ + w);
      hn::StoreU(hn::Mul(factor, hn::LoadU(tag, mass_ + w)), tag, mass_ + w);
      for (int64_t c = 0; c < t_.e; ++c) {
        float* x = out_ + c * width_ + w;
        hn::StoreU(hn::Mul(factor, hn::LoadU(tag, x)), tag, x);
      }
    }
  }

  /// P^T = factor * weight [W] * q^T, so that the first-order term becomes one more product, with a moment's
  /// D rows as values.
  void weigh_queries(float factor, const float* weight) {
    for (int64_t i = 0; i < t_.d; ++i)
      for (int64_t w = 0; w < width_; ++w) p_[i * width_ + w] = factor * weight[w] * q_[i * width_ + w];
  }

  void accumulate_moment(const float* moment) {
    for (int64_t i = 0; i < t_.d; ++i) moment_rows_[i] = moment + i * t_.moment_stride;
    for_each_block(t_.e, width_, AccumulateVisitor{moment_rows_, p_, t_.d, width_, width_, out_});
  }

  void add_shared_first_order() {
    weigh_queries(static_cast<float>(kLn2) * rate_ * t_.moment_share, mass_);
    accumulate_moment(t_.moment);
  }

  /// Adds every block's own first-order term, weighted by the exponential of its mean logit.
  void add_first_orders() {
    const int32_t* block = t_.moment_blocks;
    for (int64_t r = 0; r < t_.mean_runs; ++r)
      for (int64_t i = 0; i < t_.means[r].count; ++i, ++block) {
        const float* row[1] = {t_.means[r].k + i * t_.means[r].k_stride};
        std::fill(raised_, raised_ + width_, -1e30f);
        for_each_block(1, width_, ScoreVisitor{row, nullptr, q_, t_.d, width_, p_, raised_});
        std::fill(row_sum_, row_sum_ + width_, 0.0f);
        exponentials(p_, 1, width_, max_, rate_, row_sum_);
        weigh_queries(static_cast<float>(kLn2) * rate_, row_sum_);
        accumulate_moment(t_.moments + *block * t_.d * t_.moment_stride);
      }
  }

  void divide() {
    for (int64_t w = 0; w < width_; ++w) sum_[w] = 1.0f / (sum_[w] + mass_[w]);
    for (int64_t c = 0; c < t_.e; ++c)
      for (int64_t w = 0; w < width_; ++w) out_[c * width_ + w] *= sum_[w];
  }

  void store() {
    if (t_.out.element == Element::Float32 && !t_.coarse) {
      transpose(out_, width_, t_.e, t_.queries, 1.0f, static_cast<float*>(t_.out.data), t_.out.stride);
      return;
    }
    transpose(out_, width_, t_.e, t_.queries, 1.0f, rows_, t_.e);
    for (int64_t r = 0; r < t_.queries; ++r) {
      float* row = rows_ + r * t_.e;
      for (int64_t c = 0; t_.coarse && c < t_.e; ++c) row[c] += t_.gate[r * t_.gate_stride] * t_.coarse[c];
      store_row(row, t_.e, t_.out, r);
    }
  }

  static constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;

  const Tile& t_;
  const int64_t width_;
  float rate_, query_scale_;
  float *q_, *p_, *out_, *max_, *raised_, *sum_, *mass_, *rows_;
  const float *k_[kChunk], *v_[kChunk], *moment_rows_[kMaxHeadSize];
  float bias_[kChunk];
  float row_sum_[kMaxBlockSize];
};

void attend(const Tile& tile, float* workspace) { TileRun(tile, workspace).run(); }

const char* target_name() { return hwy::TargetName(HWY_TARGET); }

}  // namespace glint::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
