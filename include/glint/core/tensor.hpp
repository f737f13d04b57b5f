// The only gateway to ATen. Headers that compute with tensors include this and nothing else from torch; every
// further operator takes a line here, which keeps compile cost visible.
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
