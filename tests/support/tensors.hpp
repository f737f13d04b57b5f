// The operators that tests of the core use beyond the library's own: ATen's, or in the light core a few lines
// each. The tests of the core include this and nothing else of torch.
#pragma once

#include <glint/core/rng.hpp>
#include <glint/core/tensor.hpp>

#ifndef GLINT_CORE_ONLY

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#else

#include <cmath>

namespace glint::host {

inline Tensor sin(const Tensor& x) {
  const Tensor wide = x.to(kDouble).clone();
  for (int64_t i = 0; i < wide.numel(); ++i)
    wide.data_ptr<double>()[i] = std::sin(wide.data_ptr<double>()[i]);
  return wide.to(x.scalar_type());
}

}  // namespace glint::host

#endif
