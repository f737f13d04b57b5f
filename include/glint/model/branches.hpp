// The branches of a guided prediction: one evaluation of the network each.
#pragma once

#include <glint/core/tensor.hpp>

namespace glint {

/// The branches one prediction evaluates. Each costs one row per sample.
struct BranchSet {
  bool cond = true;     ///< under the prompt
  bool uncond = false;  ///< under the negative prompt
  bool weak = false;    ///< as the rule's WeakBranch says
};

/// Raw network outputs of the branches asked for; the others are undefined.
struct BranchOutputs {
  at::Tensor cond = {};
  at::Tensor uncond = {};
  at::Tensor weak = {};
};

}  // namespace glint
