// The memory of a causal video network.
#pragma once

#include <glint/core/tensor.hpp>

#include <vector>

namespace glint {

/// The memory of a video encoder or decoder between calls; empty before the first frame. Assign {} to start
/// over. Copies share their immutable tensors and continue from the same frame.
struct VideoState {
  std::vector<at::Tensor> tensors = {};
  std::vector<int64_t> frame = {};  ///< shape [B,C,H,W] of one input frame, common to all frames

  bool empty() const { return tensors.empty(); }
};

}  // namespace glint
