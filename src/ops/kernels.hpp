// The vectorised kernels, dispatched at run time for the machine. Plain pointers, float32 inside.
//
// Queries map to vector lanes, keys and value columns to loops:
//
//   scores   S^T [keys, W]  =  K [keys, D]   Q^T [D, W]      W: the queries of one tile
//   result   O^T [E, W]    +=  V^T [E, keys] P^T [keys, W]
//
// so rows of K and V are read one element at a time and broadcast. Hence rows may lie anywhere: no packing,
// no padding, no masks for short blocks. The softmax's maximum, sum and rescaling are plain vector
// arithmetic.
#pragma once

#include <glint/export.hpp>

#include "ops/engine.hpp"

#include <cstdint>

namespace glint::ops {

/// Evenly spaced rows of keys and values; strides in floats, 0 repeats a row.
struct KeyRun {
  const float* k;
  const float* v;
  int64_t k_stride, v_stride, count;
  const float*
      log2_weight;  ///< added to each row's base-2 logit, for means that stand for many keys; or null
};

/// Rows of one head in memory, of any element type.
struct HeadRows {
  void* data;
  Element element;
  int64_t stride;
};

/// One tile of queries against the keys it reads.
struct Tile {
  HeadRows q, out;  ///< both start at the tile
  int64_t queries, d, e;
  float scale;
  const KeyRun* exact;
  int64_t exact_runs;
  const KeyRun* means;
  int64_t mean_runs;
  const float* moment;   ///< sum over all blocks of (k - mean)^T v, [D, moment_stride]; null = no shared
                         ///< first-order term
  float moment_share;    ///< 1 / keys
  const float* moments;  ///< each block's own, or null; entry j belongs to means row j
  const int32_t* moment_blocks;  ///< block of each means row, over all runs
  int64_t moment_stride;
  const float* coarse;  ///< [E] added to every query's result times its gate, or null
  const float* gate;
  int64_t gate_stride;
};

/// Returns the workspace attend() needs for tiles of `queries`, in floats.
int64_t attend_workspace(int64_t queries, int64_t d, int64_t e);
void attend(const Tile& tile, float* workspace);

/// Statistics of the blocks [first, last) of one head.
struct Statistics {
  const float* k;
  const float* v;
  int64_t k_stride, v_stride, d, e;
  Grid grid;
  int64_t first, last;
  float* key_mean;     ///< [blocks, D]
  float* value_mean;   ///< [blocks, E]
  float* log2_weight;  ///< [blocks] log2 of the block's tokens
  float* bias;         ///< [blocks] added to scores by the selection
  BlockSelection selection;
  bool need_moment;
  float* moment_sum;      ///< [D, moment_stride] summed over these blocks
  float* moments;         ///< [blocks, D, moment_stride], or null
  int64_t moment_stride;  ///< E rounded up to a multiple of 16
};

int64_t statistics_workspace(int64_t block, int64_t d, int64_t e);
void statistics(const Statistics& task, float* workspace);

/// out [queries, keys] = scale * q k^T, for q [queries, D] and k [keys, D], both dense.
int64_t scores_workspace(int64_t keys, int64_t d);
void scores(const float* q, int64_t queries, const float* k, int64_t keys, int64_t d, float scale, float* out,
            float* workspace);

/// Converts rows to float32, `to_stride` floats apart.
void load_rows(const HeadRows& from, int64_t rows, int64_t columns, float* to, int64_t to_stride);
/// to [D] = mean of the rows.
void mean_of_rows(const HeadRows& from, int64_t rows, int64_t columns, float* to, float* workspace);

/// The name of the instruction set in use, e.g. "AVX3".
GLINT_API const char* kernel_target();

/// Limits vectors to 64, 32, 16 or 4 bytes from now on, in the whole process. For tests and benchmarks.
GLINT_API void limit_vectors(int64_t bytes);

}  // namespace glint::ops
