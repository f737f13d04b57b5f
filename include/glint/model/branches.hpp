// The branches of a guided prediction, each one evaluation of the network.
#pragma once

#include <glint/core/tensor.hpp>

namespace glint {

/// Which branches a prediction evaluates. Each costs one row per sample.
struct BranchSet {
  bool cond = true;     ///< conditioned on the prompt
  bool uncond = false;  ///< conditioned on the negative prompt, or on nothing
  bool weak = false;    ///< whatever the rule's WeakBranch specifies
};

/// Raw network outputs of the requested branches; the others are undefined.
struct BranchOutputs {
  at::Tensor cond = {};
  at::Tensor uncond = {};
  at::Tensor weak = {};
};

}  // namespace glint
