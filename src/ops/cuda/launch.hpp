// How the host starts a kernel. Needs no CUDA header.
#pragma once

#include "ops/cuda/kernels.hpp"

namespace glint::ops::cuda {

/// Starts Kernel on a grid of x by y thread blocks on a cudaStream_t. Returns null, or what went wrong.
template <typename Kernel, typename Params>
const char* launch(const Params& params, unsigned x, unsigned y, void* stream);

}  // namespace glint::ops::cuda
