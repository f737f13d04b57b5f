// What the kernels are given: plain values and pointers. Shared by nvcc, the host compiler and the emulator.
//
// h: head, of all batches   n: key blocks   d: head size   e: value size   pitch: d or e rounded up to a
// multiple of 4 (float32 rows) or to the tile's width (16-bit rows)
#pragma once

#include "ops/cuda/number.hpp"

namespace glint::ops::cuda {

/// A [B,H,tokens,size] array whose last dimension is contiguous. Strides in elements.
struct Strided {
  void* data;
  std::int64_t batch_stride, head_stride, token_stride;
};

/// Tokens of a block: `count` of them from `begin`.
struct Span {
  int begin, count;
};

/// How one head's tokens are cut into blocks.
///
/// Blocks of `size` cut the first `split` tokens, others the rest; the last of each part may be short. If
/// `kept` is not negative, only that many blocks of the second part are in use, as `context` [H,kept] lists
/// them. If `padded`, what is in use is cut again into blocks of `size`, and tokens past the end are zero.
struct Blocks {
  int tokens, size, split;
  int kept = -1;
  bool padded = false;
  const int* context = nullptr;

  static Blocks regular(int tokens, int size) { return {tokens, size, tokens}; }

  GLINT_BOTH int first_part() const { return padded ? split / size : ceil_div(split, size); }
  GLINT_BOTH int blocks() const {
    if (padded) return ceil_div(split + size * kept, size);
    return first_part() + (kept < 0 ? ceil_div(tokens - split, size) : kept);
  }
};

/// Mean of every block of x [B,H,tokens,size] -> mean [H,n,pitch].
struct PoolParams {
  Strided x;
  int heads, size, pitch;
  Blocks blocks;
  float* mean;
};

/// How block statistics bias the selection.
enum class Bias { None, Covariance, Variance };

/// Statistics of key blocks. A thread block takes `run` of them, so that sums of moments are few and always
/// of the same order.
struct StatisticsParams {
  Strided k, v;
  int heads, d, e;
  Blocks blocks;
  int run;
  int d_pitch, e_pitch;
  float* key_mean;     ///< [H,n,d_pitch]
  float* value_mean;   ///< [H,n,e_pitch]
  float* log2_weight;  ///< [H,n]
  float* spread;       ///< [H,n,tiles]: squared norm of the moment, in parts, or the variance; or null
  Bias bias;
  int tile;            ///< 16-bit means and moments have rows of this many elements; 0: there are none
  void* key_mean16;    ///< [H,n,tile]
  void* value_mean16;  ///< [H,n,tile]
  float* run_moment;   ///< [H,runs,d,e_pitch], or null if moments are not needed
  float* moments;      ///< [H,n,d,e_pitch], or null
  int moment_tiles;    ///< thread blocks that share a moment's rows
};

/// moment [H,d,e_pitch] = factor * sum of run_moment over runs, in order; also [H,tile,tile] in 16 bits.
struct MomentSumParams {
  const float* run_moment;
  int runs, d, e, e_pitch, tile;
  float factor;
  float* moment;
  void* moment16;  ///< or null
};

/// The `count` best key blocks of each row of queries.
struct SelectParams {
  static constexpr int kForced = 64;
  const float* query_mean;   ///< [H,query blocks,d_pitch]
  const float* key_mean;     ///< [H,n,d_pitch]
  const int* row_blocks;     ///< [H,rows] the query block of each row, or null: its own number
  const float* log2_weight;  ///< [H,n]: scores are multiplied by 2^it; or null
  const float* spread;       ///< [H,n,spread_parts]
  int query_blocks, rows, n, d_pitch, spread_parts;
  float scale;
  Bias bias;
  int forced_count;
  int forced[kForced];
  int count;
  int* selected;        ///< [H,rows,count], ascending
  std::uint32_t* mask;  ///< [H,rows,ceil(n/32)]: the same as bits; or null
};

/// mask [H,rows,ceil(n/32)] from lists [H,rows,count].
struct MaskParams {
  const int* selected;
  int rows, n, count;
  std::uint32_t* mask;
};

/// Coarse attention between block means; one row of it per thread block.
struct CoarseParams {
  const float *query_mean, *key_mean, *value_mean;  ///< [H,n,pitch]
  int n, main, d_pitch, e_pitch, count;
  float scale;
  float* sharpness;   ///< [H,n]: sum of the `count` largest weights on main blocks; or null
  float* on_context;  ///< [H,main,n - main]: weights of main rows on context blocks; or null
  float* out;         ///< [H,n,e_pitch]: the weighted values; or null
};

/// ISA's ranking: context blocks by what main rows give them, query blocks by sharpness.
struct RankParams {
  const float *on_context, *sharpness;
  int n, main, kept, sharp;
  int* context;  ///< [H,kept], best first
  int* sharp_blocks;
  int* diffuse_blocks;
};

/// Attention of every row of queries: exact keys, then means, then the first-order term.
struct AttendParams {
  Strided q, k, v, out;
  int heads, d, e;
  Blocks queries, keys;
  int rows;                ///< of query blocks
  int all_rows;            ///< the first rows, which read all keys
  const int* all_blocks;   ///< [H,all_rows] their query blocks, or null: the row's number
  const int* some_blocks;  ///< [H,rows - all_rows] the others' query blocks, or null: the row's number
  const int* selected;     ///< [H,rows - all_rows,count] key blocks the others read
  int count;
  const std::uint32_t* mask;  ///< the same as bits, or null: unselected blocks are dropped
  int d_pitch, e_pitch, tile;
  const float *key_mean, *value_mean, *log2_weight;
  const void *key_mean16, *value_mean16, *moment16;
  const float* moment;   ///< [H,d,e_pitch] times its factor; null: no shared first-order term
  const float* moments;  ///< [H,n,d,e_pitch]; null: no first-order terms of their own
  float moments_factor;
  float rate;           ///< base-2 logits are rate * sign * q.k
  int sign;             ///< 1, 0, -1
  const float* coarse;  ///< [H,query blocks,e_pitch] added times the gate; or null
  const float* gate;
  std::int64_t gate_batch, gate_head, gate_token;
};

}  // namespace glint::ops::cuda
