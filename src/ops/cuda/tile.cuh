// Tiles of 16-bit rows in shared memory, and their fragments for the matrix units.
//
// A row is kD elements, kD / 8 chunks of 16 bytes. Chunk c of row r lies at place c ^ (r % 8), so that the
// eight rows of a matrix load, and the eight lanes of a copy, use different banks.
#pragma once

#include "ops/cuda/primitives.cuh"

namespace glint::ops::cuda {

template <int kD>
GLINT_DEVICE std::uint32_t chunk_at(int row, int chunk) {
  return row * (kD * 2) + (chunk ^ (row & 7)) * 16;
}

/// Starts the copy of kRows rows; `row_at(r)` points at the row or is null, which gives zeros, as do the
/// columns from `size` on, a multiple of 8.
template <typename T, int kD, int kRows, int kThreads, typename RowAt>
GLINT_DEVICE void copy_tile(std::uint32_t at, const T* any, int size, RowAt&& row_at) {
  constexpr int kChunks = kD / 8, kStep = kThreads / kChunks;
  static_assert(kThreads % kChunks == 0 && kRows % kStep == 0);
  const int chunk = thread_index() % kChunks;
  GLINT_UNROLL
  for (int r = thread_index() / kChunks; r < kRows; r += kStep) {
    const T* from = row_at(r);
    const bool inside = from && chunk * 8 < size;
    copy_async(at + chunk_at<kD>(r, chunk), inside ? from + chunk * 8 : any, inside ? 16 : 0);
  }
}

/// A of rows [first_row, +16) and columns [16 step, +16).
template <int kD>
GLINT_DEVICE void load_a(std::uint32_t at, int first_row, int step, std::uint32_t (&a)[4]) {
  const int lane = thread_index() % 32;
  load_matrices(at + chunk_at<kD>(first_row + lane % 16, 2 * step + lane / 16), a);
}

/// B of the transposed tile: columns are rows [16 pair, +16), two groups of 8; its rows are columns [16 step,
/// +16).
template <int kD>
GLINT_DEVICE void load_b_of_rows(std::uint32_t at, int pair, int step, std::uint32_t (&b)[4]) {
  const int lane = thread_index() % 32;
  load_matrices(at + chunk_at<kD>(16 * pair + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2), b);
}

/// B of the tile as it lies: rows [16 step, +16), columns [16 pair, +16), two groups of 8.
template <int kD>
GLINT_DEVICE void load_b(std::uint32_t at, int step, int pair, std::uint32_t (&b)[4]) {
  const int lane = thread_index() % 32;
  load_matrices_transposed(at + chunk_at<kD>(16 * step + lane % 16, 2 * pair + lane / 16), b);
}

/// A of the transposed tile: its rows are columns [16 column_step, +16), its columns rows [16 step, +16).
template <int kD>
GLINT_DEVICE void load_a_of_columns(std::uint32_t at, int step, int column_step, std::uint32_t (&a)[4]) {
  const int lane = thread_index() % 32;
  load_matrices_transposed(
      at + chunk_at<kD>(16 * step + lane % 8 + lane / 16 * 8, 2 * column_step + lane / 8 % 2), a);
}

}  // namespace glint::ops::cuda
