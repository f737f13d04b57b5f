// The kernels' primitives, emulated. Include before any kernel. src/ops/cuda/primitives.cuh says what each
// does.
#pragma once

#define GLINT_SIMT_EMULATOR 1

#include "ops/cuda/number.hpp"
#include "tests/support/simt/machine.hpp"

#include <bit>
#include <cmath>

namespace glint::ops::cuda {

using Where = std::source_location;
using simt::Machine;

inline int thread_index() { return Machine::current().thread(); }
inline int block_x() { return Machine::current().block().x; }
inline int block_y() { return Machine::current().block().y; }
inline int block_z() { return Machine::current().block().z; }

template <typename T>
T load(const T* p, Where where = Where::current()) {
  Machine::current().read_global(p, sizeof(T), where);
  return *p;
}
template <typename T>
void store(T* p, T x, Where where = Where::current()) {
  Machine::current().write_global(p, sizeof(T), where);
  *p = x;
}
template <typename T>
T load_shared(std::uint32_t at, Where where = Where::current()) {
  T x;
  Machine::current().read_shared(at, &x, sizeof(T), where);
  return x;
}
template <typename T>
void store_shared(std::uint32_t at, T x, Where where = Where::current()) {
  Machine::current().write_shared(at, &x, sizeof(T), where);
}
inline int add_shared(std::uint32_t at, int n, Where where = Where::current()) {
  return Machine::current().add_shared(at, n, where);
}

inline void sync_block(Where where = Where::current()) { Machine::current().barrier(where); }
inline void sync_warp(Where where = Where::current()) { Machine::current().warp_barrier(where); }

template <typename T>
T shuffle(T x, int lane, Where where = Where::current()) {
  struct Operands {
    T x;
    int lane;
    T result;
  } mine{x, lane, x};
  Machine::current().collective(where, &mine, [](void* const* lanes) {
    for (int i = 0; i < simt::kWarp; ++i) {
      auto* to = static_cast<Operands*>(lanes[i]);
      to->result = static_cast<Operands*>(lanes[to->lane % simt::kWarp])->x;
    }
  });
  return mine.result;
}
template <typename T>
T shuffle_xor(T x, int mask, Where where = Where::current()) {
  return cuda::shuffle(x, (thread_index() % simt::kWarp) ^ mask, where);  // not std::shuffle
}
inline std::uint32_t ballot(bool condition, Where where = Where::current()) {
  struct Operands {
    bool condition;
    std::uint32_t result;
  } mine{condition, 0};
  Machine::current().collective(where, &mine, [](void* const* lanes) {
    std::uint32_t bits = 0;
    for (int i = 0; i < simt::kWarp; ++i)
      bits |= static_cast<std::uint32_t>(static_cast<Operands*>(lanes[i])->condition) << i;
    for (int i = 0; i < simt::kWarp; ++i) static_cast<Operands*>(lanes[i])->result = bits;
  });
  return mine.result;
}
inline int count_bits(std::uint32_t x) { return std::popcount(x); }

inline void copy_async(std::uint32_t at, const void* p, int bytes, Where where = Where::current()) {
  Machine::current().copy_async(at, p, bytes, where);
}
inline void commit_async() { Machine::current().commit(); }
template <int kPending>
void wait_async() {
  Machine::current().wait(kPending);
}

namespace emulated {

struct MatrixOperands {
  std::uint16_t row[8];  ///< the row this lane named
  std::uint32_t* result;
};

inline void exchange_matrices(void* const* lanes, bool transposed) {
  for (int lane = 0; lane < simt::kWarp; ++lane)
    for (int i = 0; i < 4; ++i) {
      const auto element = [&](int row, int column) -> std::uint32_t {
        return static_cast<const MatrixOperands*>(lanes[8 * i + row])->row[column];
      };
      const int g = lane / 4, t = 2 * (lane % 4);
      const std::uint32_t low = transposed ? element(t, g) : element(g, t),
                          high = transposed ? element(t + 1, g) : element(g, t + 1);
      static_cast<const MatrixOperands*>(lanes[lane])->result[i] = low | high << 16;
    }
  ++Machine::current().report().matrix_loads;
}

}  // namespace emulated

inline void load_matrices(std::uint32_t at, std::uint32_t (&r)[4], Where where = Where::current()) {
  emulated::MatrixOperands mine{{}, r};
  Machine::current().read_matrix_row(at, mine.row, where);
  Machine::current().collective(where, &mine,
                                [](void* const* lanes) { emulated::exchange_matrices(lanes, false); });
}
inline void load_matrices_transposed(std::uint32_t at, std::uint32_t (&r)[4],
                                     Where where = Where::current()) {
  emulated::MatrixOperands mine{{}, r};
  Machine::current().read_matrix_row(at, mine.row, where);
  Machine::current().collective(where, &mine,
                                [](void* const* lanes) { emulated::exchange_matrices(lanes, true); });
}

inline float to_float(float x) { return x; }
inline float to_float(BFloat16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }
inline float to_float(Half x) {
  const std::uint32_t sign = std::uint32_t{x.bits} >> 15 << 31, exponent = x.bits >> 10 & 31,
                      fraction = x.bits & 1023;
  if (exponent == 0) {
    const float tiny = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -tiny : tiny;
  }
  return std::bit_cast<float>(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13);
}

template <typename T>
T from_float(float x);
template <>
inline float from_float<float>(float x) {
  return x;
}
template <>
inline BFloat16 from_float<BFloat16>(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (std::isnan(x)) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
template <>
inline Half from_float<Half>(float x) {
  const auto sign = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 31 << 15);
  if (std::isnan(x)) return {0x7fff};
  const float size = std::fabs(x);
  if (size >= 65520.0f) return {static_cast<std::uint16_t>(sign | 0x7c00)};
  if (size == 0.0f) return {sign};
  int exponent = 0;
  std::frexp(size, &exponent);
  exponent = std::max(exponent, -13);  // below, halves are evenly spaced
  const auto steps = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, 11 - exponent)));
  // A carry out of the fraction raises the exponent by itself.
  return {static_cast<std::uint16_t>(sign | ((static_cast<std::uint32_t>(exponent + 13) << 10) + steps))};
}
template <typename T>
std::uint32_t pack(float low, float high) {
  return from_float<T>(low).bits | std::uint32_t{from_float<T>(high).bits} << 16;
}

namespace emulated {

struct ProductOperands {
  float* c;
  const std::uint32_t* a;
  std::uint32_t b[2];
};

template <typename T>
float half_of(std::uint32_t pair, int which) {
  return to_float(T{static_cast<std::uint16_t>(pair >> 16 * which)});
}

/// Gathers the fragments into matrices, multiplies, and scatters the result.
template <typename T>
void product(void* const* lanes) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < simt::kWarp; ++lane) {
    const auto& x = *static_cast<const ProductOperands*>(lanes[lane]);
    const int g = lane / 4, t = 2 * (lane % 4);
    for (int half = 0; half < 2; ++half) {
      a[g][t + half] = half_of<T>(x.a[0], half);
      a[g + 8][t + half] = half_of<T>(x.a[1], half);
      a[g][t + 8 + half] = half_of<T>(x.a[2], half);
      a[g + 8][t + 8 + half] = half_of<T>(x.a[3], half);
      b[t + half][g] = half_of<T>(x.b[0], half);
      b[t + 8 + half][g] = half_of<T>(x.b[1], half);
    }
  }
  float c[16][8] = {};
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k)
      for (int column = 0; column < 8; ++column) c[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < simt::kWarp; ++lane) {
    const auto& x = *static_cast<const ProductOperands*>(lanes[lane]);
    const int g = lane / 4, t = 2 * (lane % 4);
    for (int i = 0; i < 4; ++i) x.c[i] += c[g + i / 2 * 8][t + i % 2];
  }
  ++Machine::current().report().multiplies;
}

}  // namespace emulated

template <typename T>
void multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
              Where where = Where::current()) {
  std::uint32_t used[4] = {a[0], a[1], a[2], a[3]};
  if (Machine::current().swaps_fragment()) std::swap(used[1], used[2]);
  emulated::ProductOperands mine{c, used, {b0, b1}};
  Machine::current().collective(where, &mine, &emulated::product<T>);
}

inline float power_of_two(float x) { return std::exp2(x); }
inline std::uint32_t float_bits(float x) { return std::bit_cast<std::uint32_t>(x); }

}  // namespace glint::ops::cuda
