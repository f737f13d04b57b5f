// Element types and marks of functions, for the compilers of both sides.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define GLINT_DEVICE __device__ __forceinline__
#define GLINT_BOTH __host__ __device__ __forceinline__
#define GLINT_UNROLL _Pragma("unroll")
#else
#define GLINT_DEVICE inline
#define GLINT_BOTH inline
#define GLINT_UNROLL
#endif

namespace glint::ops::cuda {

/// IEEE binary16 and bfloat16, as bits.
struct Half {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

/// Two floats read or written at once; 8-byte aligned.
struct alignas(8) Pair {
  float x[2];
};
/// Four floats read or written at once; 16-byte aligned.
struct alignas(16) Quad {
  float x[4];
};

GLINT_BOTH constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
GLINT_BOTH constexpr int round_up(int a, int b) { return ceil_div(a, b) * b; }
GLINT_BOTH constexpr int smaller(int a, int b) { return a < b ? a : b; }

}  // namespace glint::ops::cuda
