// Starts kernels. Included by the short .cu files that instantiate them.
#pragma once

#include "ops/cuda/launch.hpp"

#include <cuda_runtime_api.h>

namespace glint::ops::cuda {

template <typename Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, Kernel::kMinBlocks)
    entry(const __grid_constant__ typename Kernel::Params params) {
  Kernel{}(params);
}

template <typename Kernel, typename Params>
const char* launch(const Params& params, unsigned x, unsigned y, void* stream) {
  constexpr int kAlways = 48 << 10;  // more has to be asked for
  const int bytes = Kernel::shared_bytes(params);
  if (bytes > kAlways)
    if (const cudaError_t error =
            cudaFuncSetAttribute(entry<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes))
      return cudaGetErrorString(error);
  entry<Kernel><<<dim3(x, y), Kernel::kThreads, bytes, static_cast<cudaStream_t>(stream)>>>(params);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace glint::ops::cuda
