// Attention for any element type, block size and head size, in float32 without matrix units.
//
// A thread block takes 32 query rows of one query block, four threads a row; keys come 32 at a time:
//
//   q [32,d] | keys, then values [32,max(d,e)] | weights [32,32] | bias [32]     in shared memory, float32
//   out [e/4], maximum, sum, mass                                               in each thread's registers
#pragma once

#include "ops/cuda/pool.cuh"

namespace glint::ops::cuda {

/// Query block and key list of a row of the grid.
struct RowOfBlocks {
  int block;
  int count;            ///< key blocks read exactly
  const int* selected;  ///< or null: all
  std::int64_t mask;    ///< where its words begin, in rows
};

GLINT_DEVICE RowOfBlocks row_of_blocks(const AttendParams& p, int h, int row) {
  const int n = p.queries.blocks();
  const auto block = [&](const int* list, std::int64_t at) {
    return list ? clamped(load(list + at), n) : row;
  };
  if (row < p.all_rows)
    return {block(p.all_blocks, static_cast<std::int64_t>(h) * p.all_rows + row), p.keys.blocks(), nullptr,
            0};
  const std::int64_t at = static_cast<std::int64_t>(h) * (p.rows - p.all_rows) + row - p.all_rows;
  return {block(p.some_blocks, at), p.count, p.selected + at * p.count, at};
}

/// Grid: x = row * parts + part of the query block, y = head.   kE: at least e, a multiple of 4.
template <typename T, int kE>
struct AttendPlain {
  using Params = AttendParams;
  static constexpr int kThreads = 128, kMinBlocks = 1, kRows = 32, kKeys = 32;
  static int shared_bytes(const Params& p) {
    const int wide = p.d_pitch > p.e_pitch ? p.d_pitch : p.e_pitch;
    return (kRows * (p.d_pitch + 1) + kKeys * (wide + 1) + kRows * (kKeys + 1) + kKeys) * 4;
  }
  static int parts(const Params& p) { return ceil_div(p.queries.size, kRows); }

  GLINT_DEVICE void operator()(const Params& p) const {
    Task t{p, block_y(), thread_index() / 4, thread_index() % 4};
    const int parts = ceil_div(p.queries.size, kRows);
    const RowOfBlocks row = row_of_blocks(p, t.h, block_x() / parts);
    const Span span = span_of(p.queries, t.h, row.block);
    const int first = block_x() % parts * kRows, rows = smaller(kRows, span.count - first);
    if (rows <= 0) return;
    t.load_queries(span.begin + first, rows);
    for (int i = 0; i < row.count; ++i) t.read_block(row.selected ? load(row.selected + i) : i);
    const bool means = row.selected && p.mask;
    for (int first_mean = 0; means && first_mean < p.keys.blocks(); first_mean += kKeys)
      t.read_means(first_mean, row.mask);
    t.mass = t.row_sum(t.mass);
    t.sum = t.row_sum(t.sum);
    if (means && p.moment) t.add_moment(p.moment + static_cast<std::int64_t>(t.h) * p.d * p.e_pitch, t.mass);
    if (t.row < rows) t.write(row.block, span.begin + first + t.row);
  }

 private:
  struct Task {
    const Params& p;
    int h, row, part;
    float max = -1e30f, sum = 0.0f, mass = 0.0f;
    float out[kE / 4] = {};

    GLINT_DEVICE int wide() const { return (p.d_pitch > p.e_pitch ? p.d_pitch : p.e_pitch) + 1; }
    GLINT_DEVICE std::uint32_t query_at(int r) const { return r * (p.d_pitch + 1) * 4; }
    GLINT_DEVICE std::uint32_t key_at(int r) const { return query_at(kRows) + r * wide() * 4; }
    GLINT_DEVICE std::uint32_t weight_at(int r) const { return key_at(kKeys) + r * (kKeys + 1) * 4; }
    GLINT_DEVICE std::uint32_t bias_at(int r) const { return weight_at(kRows) + r * 4; }

    GLINT_DEVICE void load_queries(int token, int rows) const {
      const T* q = head_of<const T>(p.q, p.heads, h);
      for (int i = thread_index(); i < kRows * p.d; i += kThreads) {
        const int r = i / p.d, c = i % p.d;
        const float x = r < rows ? to_float(load(q + (token + r) * p.q.token_stride + c)) : 0.0f;
        store_shared(query_at(r) + c * 4, static_cast<float>(p.sign) * x);
      }
    }

    GLINT_DEVICE void read_block(int j) {
      if (j < 0 || j >= p.keys.blocks()) return;
      const Span span = span_of(p.keys, h, j);
      const T *k = head_of<const T>(p.k, p.heads, h), *v = head_of<const T>(p.v, p.heads, h);
      for (int first = 0; first < span.count; first += kKeys) {
        const int keys = smaller(kKeys, span.count - first);
        copy(k, p.k.token_stride, p.d, span, first, keys);
        if (thread_index() < kKeys)
          store_shared(bias_at(thread_index()), thread_index() < keys ? 0.0f : -INFINITY);
        sync_block();
        float x[kKeys / 4];
        scores(x);
        sum += softmax(x);
        sync_block();
        copy(v, p.v.token_stride, p.e, span, first, keys);
        sync_block();
        accumulate();
        sync_block();
      }
    }

    GLINT_DEVICE void copy(const T* from, std::int64_t stride, int size, Span span, int first,
                           int keys) const {
      for (int i = thread_index(); i < kKeys * size; i += kThreads) {
        const int r = i / size, c = i % size;
        const int token = r < keys ? token_of(p.keys, h, span, first + r) : -1;
        store_shared(key_at(r) + c * 4, token >= 0 ? to_float(load(from + token * stride + c)) : 0.0f);
      }
    }

    GLINT_DEVICE void read_means(int first, std::int64_t mask_row) {
      const int n = p.keys.blocks(), count = smaller(kKeys, n - first);
      const std::uint32_t chosen = load(p.mask + mask_row * ceil_div(n, 32) + first / 32);
      const std::int64_t at = static_cast<std::int64_t>(h) * n + first;
      copy_means(p.key_mean + at * p.d_pitch, p.d_pitch, p.d, count);
      if (const int i = thread_index(); i < kKeys)
        store_shared(bias_at(i),
                     i < count && !(chosen >> i & 1) ? load(p.log2_weight + at + i) / p.rate : -INFINITY);
      sync_block();
      float x[kKeys / 4];
      scores(x);
      mass += softmax(x);
      sync_block();
      copy_means(p.value_mean + at * p.e_pitch, p.e_pitch, p.e, count);
      sync_block();
      accumulate();
      for (int i = 0; p.moments && i < count; ++i) {
        if (chosen >> i & 1) continue;
        const float weight = load_shared<float>(weight_at(row) + i * 4) / exp2f(load(p.log2_weight + at + i));
        add_moment(p.moments + (at + i) * p.d * p.e_pitch, p.moments_factor * weight);
      }
      sync_block();
    }

    GLINT_DEVICE void copy_means(const float* from, int pitch, int size, int count) const {
      for (int i = thread_index(); i < kKeys * size; i += kThreads) {
        const int r = i / size, c = i % size;
        store_shared(key_at(r) + c * 4,
                     r < count ? load(from + static_cast<std::int64_t>(r) * pitch + c) : 0.0f);
      }
    }

    /// Key i of this thread is number part + 4 i of the tile.
    GLINT_DEVICE void scores(float (&x)[kKeys / 4]) const {
      GLINT_UNROLL
      for (int i = 0; i < kKeys / 4; ++i) x[i] = 0.0f;
      for (int c = 0; c < p.d; ++c) {
        const auto q = load_shared<float>(query_at(row) + c * 4);
        GLINT_UNROLL
        for (int i = 0; i < kKeys / 4; ++i) x[i] += q * load_shared<float>(key_at(part + 4 * i) + c * 4);
      }
      // Last: the sum above is rounded at its own size.
      GLINT_UNROLL
      for (int i = 0; i < kKeys / 4; ++i) x[i] += load_shared<float>(bias_at(part + 4 * i));
    }

    /// Turns scores into weights under the raised maximum, and scales down what was summed before.
    GLINT_DEVICE float softmax(float (&x)[kKeys / 4]) {
      float top = max;
      GLINT_UNROLL
      for (int i = 0; i < kKeys / 4; ++i) top = fmaxf(top, x[i]);
      top = fmaxf(top, shuffle_xor(top, 1));
      top = fmaxf(top, shuffle_xor(top, 2));
      const float factor = exp2f(p.rate * (max - top));
      max = top;
      sum *= factor;
      mass *= factor;
      GLINT_UNROLL
      for (int c = 0; c < kE / 4; ++c) out[c] *= factor;
      float added = 0.0f;
      GLINT_UNROLL
      for (int i = 0; i < kKeys / 4; ++i) {
        const float weight = exp2f(p.rate * (x[i] - top));
        store_shared(weight_at(row) + (part + 4 * i) * 4, weight);
        added += weight;
      }
      return added;
    }

    /// Adds the weighted values. A row's four threads are of one warp, but the barriers around say more.
    GLINT_DEVICE void accumulate() {
      for (int key = 0; key < kKeys; ++key) {
        const auto weight = load_shared<float>(weight_at(row) + key * 4);
        GLINT_UNROLL
        for (int c = 0; c < kE / 4; ++c)
          if (part + 4 * c < p.e) out[c] += weight * load_shared<float>(key_at(key) + (part + 4 * c) * 4);
      }
    }

    GLINT_DEVICE void add_moment(const float* moment, float factor) {
      for (int i = 0; i < p.d; ++i) {
        const float q = factor * load_shared<float>(query_at(row) + i * 4);
        GLINT_UNROLL
        for (int c = 0; c < kE / 4; ++c)
          if (part + 4 * c < p.e)
            out[c] += q * load(moment + static_cast<std::int64_t>(i) * p.e_pitch + part + 4 * c);
      }
    }

    GLINT_DEVICE float row_sum(float x) const {
      x += shuffle_xor(x, 1);
      return x + shuffle_xor(x, 2);
    }

    GLINT_DEVICE void write(int block, int token) const {
      const float share = 1.0f / (sum + mass);
      const int b = h / p.heads, head = h % p.heads;
      const float gate =
          p.gate ? load(p.gate + b * p.gate_batch + head * p.gate_head + token * p.gate_token) : 0.0f;
      const float* coarse =
          p.coarse + (static_cast<std::int64_t>(h) * p.queries.blocks() + block) * p.e_pitch;
      T* to = head_of<T>(p.out, p.heads, h) + token * p.out.token_stride;
      GLINT_UNROLL
      for (int c = 0; c < kE / 4; ++c) {
        const int column = part + 4 * c;
        if (column < p.e)
          store(to + column, from_float<T>(out[c] * share + (p.gate ? gate * load(coarse + column) : 0.0f)));
      }
    }
  };
};

}  // namespace glint::ops::cuda
