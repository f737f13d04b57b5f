// What a causal network remembers of the frames it has seen.
#pragma once

#include <glint/core/tensor.hpp>

#include <vector>

namespace glint {

/// The memory of a video encoder or decoder between calls; empty before the first frame. Assigning {} starts
/// anew. Copies share their tensors, which nothing changes: a copy continues from the same frame.
struct VideoState {
  std::vector<at::Tensor> tensors = {};
  std::vector<int64_t> frame = {};  ///< shape [B,C,H,W] of one input frame, which all frames must have

  bool empty() const { return tensors.empty(); }
};

}  // namespace glint
