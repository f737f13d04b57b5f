// The instructions that the kernels are written in. Nothing else in this folder depends on the machine.
//
// Two back ends: ptx.cuh, and the emulator in tests/support/simt, which a test includes first.
//
//   thread_index(), block_x(), block_y(), block_z()
//   load(p), store(p, x)                      global memory
//   load_shared<T>(at), store_shared(at, x)   shared memory, by byte address in the block's own
//   add_shared(at, n)                         atomic, on int32
//   sync_block(), sync_warp()
//   shuffle(x, lane), shuffle_xor(x, mask), ballot(condition)     by whole warps
//   copy_async(at, p, bytes)      16 bytes to shared memory; those from `bytes` on are zero
//   commit_async(), wait_async<N>()   closes a group of copies; waits until at most N groups are unfinished
//   load_matrices(at, r), load_matrices_transposed(at, r)         four 8x8 matrices of 16-bit elements, by
//                                 whole warps: lane 8i + j names row j of matrix i
//   multiply<T>(c, a, b0, b1)     C [16,8] += A [16,16] B [16,8] by a whole warp. With g = lane / 4 and
//                                 t = lane % 4, a register holds two neighbouring elements of
//                                   a[0] (g, 2t)  a[1] (g+8, 2t)  a[2] (g, 2t+8)  a[3] (g+8, 2t+8)
//                                   b0 (2t, g)  b1 (2t+8, g), neighbours below each other
//                                   c[0], c[1] (g, 2t)  c[2], c[3] (g+8, 2t)
//   to_float(x), from_float<T>(x), pack<T>(low, high)
//   power_of_two(x)               2^x to 22 bits
#pragma once

#include "ops/cuda/number.hpp"

#if defined(__CUDACC__)
#include "ops/cuda/ptx.cuh"
#elif !defined(GLINT_SIMT_EMULATOR)
#error "kernels are compiled by nvcc, or after tests/support/simt/primitives.hpp"
#endif
