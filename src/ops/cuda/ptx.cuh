// The primitives as NVIDIA GPUs from sm_80 on have them. See primitives.cuh.
#pragma once

#include "ops/cuda/number.hpp"

namespace glint::ops::cuda {

extern __shared__ __align__(128) unsigned char shared_bytes[];

GLINT_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
GLINT_DEVICE int block_x() { return static_cast<int>(blockIdx.x); }
GLINT_DEVICE int block_y() { return static_cast<int>(blockIdx.y); }
GLINT_DEVICE int block_z() { return static_cast<int>(blockIdx.z); }

template <typename T>
GLINT_DEVICE T load(const T* p) {
  return *p;
}
template <typename T>
GLINT_DEVICE void store(T* p, T x) {
  *p = x;
}
template <typename T>
GLINT_DEVICE T load_shared(std::uint32_t at) {
  return *reinterpret_cast<const T*>(shared_bytes + at);
}
template <typename T>
GLINT_DEVICE void store_shared(std::uint32_t at, T x) {
  *reinterpret_cast<T*>(shared_bytes + at) = x;
}
GLINT_DEVICE int add_shared(std::uint32_t at, int n) {
  return atomicAdd(reinterpret_cast<int*>(shared_bytes + at), n);
}

GLINT_DEVICE void sync_block() { __syncthreads(); }
GLINT_DEVICE void sync_warp() { __syncwarp(); }
template <typename T>
GLINT_DEVICE T shuffle(T x, int lane) {
  return __shfl_sync(0xffffffffu, x, lane);
}
template <typename T>
GLINT_DEVICE T shuffle_xor(T x, int mask) {
  return __shfl_xor_sync(0xffffffffu, x, mask);
}
GLINT_DEVICE std::uint32_t ballot(bool condition) { return __ballot_sync(0xffffffffu, condition); }
GLINT_DEVICE int count_bits(std::uint32_t x) { return __popc(x); }

GLINT_DEVICE std::uint32_t shared_address(std::uint32_t at) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared_bytes)) + at;
}
GLINT_DEVICE void copy_async(std::uint32_t at, const void* p, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(at)), "l"(p), "r"(bytes)
               : "memory");
}
GLINT_DEVICE void commit_async() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
template <int kPending>
GLINT_DEVICE void wait_async() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

GLINT_DEVICE void load_matrices(std::uint32_t at, std::uint32_t (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(at))
               : "memory");
}
GLINT_DEVICE void load_matrices_transposed(std::uint32_t at, std::uint32_t (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(at))
               : "memory");
}

template <typename T>
GLINT_DEVICE void multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1);
template <>
GLINT_DEVICE void multiply<Half>(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                 std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
GLINT_DEVICE void multiply<BFloat16>(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                     std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

GLINT_DEVICE float to_float(float x) { return x; }
GLINT_DEVICE float to_float(BFloat16 x) { return __uint_as_float(static_cast<std::uint32_t>(x.bits) << 16); }
GLINT_DEVICE float to_float(Half x) {
  float y;
  asm("cvt.f32.f16 %0, %1;\n" : "=f"(y) : "h"(x.bits));
  return y;
}
template <typename T>
GLINT_DEVICE T from_float(float x);
template <>
GLINT_DEVICE float from_float<float>(float x) {
  return x;
}
template <>
GLINT_DEVICE Half from_float<Half>(float x) {
  Half y;
  asm("cvt.rn.f16.f32 %0, %1;\n" : "=h"(y.bits) : "f"(x));
  return y;
}
template <>
GLINT_DEVICE BFloat16 from_float<BFloat16>(float x) {
  BFloat16 y;
  asm("cvt.rn.bf16.f32 %0, %1;\n" : "=h"(y.bits) : "f"(x));
  return y;
}
template <typename T>
GLINT_DEVICE std::uint32_t pack(float low, float high);
template <>
GLINT_DEVICE std::uint32_t pack<Half>(float low, float high) {
  std::uint32_t y;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;\n" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
template <>
GLINT_DEVICE std::uint32_t pack<BFloat16>(float low, float high) {
  std::uint32_t y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

GLINT_DEVICE float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}
GLINT_DEVICE std::uint32_t float_bits(float x) { return __float_as_uint(x); }

}  // namespace glint::ops::cuda
