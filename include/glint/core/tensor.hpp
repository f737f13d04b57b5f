// The one gateway to ATen. Every header whose body computes with tensors includes this and nothing else of
// torch; each further operator needs its own line here, so the cost of a compile stays visible.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <fmt/format.h>

#include <string>

namespace glint {

/// Returns a tensor's sizes as "[2,4,64,64]", for messages.
inline std::string shape_string(at::IntArrayRef sizes) {
  return fmt::format("[{}]", fmt::join(sizes.begin(), sizes.end(), ","));
}

}  // namespace glint
