// glint::Tensor: at::Tensor, or in the light core (GLINT_CORE_ONLY) an array of glint's own with the same
// names. Headers that compute with tensors include this and nothing else from torch; every further operator
// takes a line here, which keeps compile cost visible.
#pragma once

#ifdef GLINT_CORE_ONLY

#include <glint/core/host_tensor.hpp>
#include <glint/fwd.hpp>

#else

#include <glint/core/host_macros_off.hpp>

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <glint/core/host_macros_on.hpp>

#endif

#include <glint/core/message.hpp>

#include <string>

namespace glint {

using Tensor = at::Tensor;

/// Whether results can be differentiated; a Model may then set ModelInfo::gradients.
#ifdef GLINT_CORE_ONLY
inline constexpr bool kDifferentiates = false;
#else
inline constexpr bool kDifferentiates = true;
#endif

/// Returns a tensor's sizes as "[2,4,64,64]", for messages.
inline std::string shape_string(at::IntArrayRef sizes) {
  std::string text = "[";
  text += joined_text(sizes, ",");
  return text += "]";
}

}  // namespace glint
