// A Swin transformer without its classifier.
#pragma once

#include "network/released/layers.hpp"

namespace glint::released {

/// Shapes:  images [B,3,side,side] to features [B,h,w,C], channels last.   Dtype: that of the weights.
/// Source:  Liu et al., "Swin Transformer", ICCV 2021, arXiv:2103.14030; parameters are named as in timm.
class Swin {
 public:
  /// Settings: image (side). All other sizes follow from the tensors' shapes.
  Swin(NetworkFile& weights, const std::string& prefix);

  int64_t side() const { return side_; }
  int64_t feature_rows() const { return side_ / patch_ >> (stages_.size() - 1); }
  int64_t feature_channels() const { return width_ << (stages_.size() - 1); }

  at::Tensor operator()(const at::Tensor& images, const Trace& trace) const;

 private:
  struct Block {
    int64_t heads, window, shift;
    LayerNorm norm1, norm2;
    Linear qkv, proj, fc1, fc2;
    at::Tensor bias;  // relative position bias [heads,n,n], n = window^2; with a shift [windows,heads,n,n]

    at::Tensor operator()(const at::Tensor& x) const;
    at::Tensor attention(const at::Tensor& windows) const;
  };
  struct Stage {
    std::optional<LayerNorm> merge_norm;
    Linear merge;
    std::vector<Block> blocks;
  };

  Block take_block(NetworkFile& weights, const std::string& prefix, int64_t width, int64_t heads,
                   int64_t side, bool shifted) const;

  int64_t side_ = 0, window_ = 0, width_ = 0, patch_ = 0;
  at::Tensor patch_weight_, patch_bias_;
  LayerNorm patch_norm_, norm_;
  std::vector<Stage> stages_;
};

}  // namespace glint::released
