// CoRe2's weak network, which imitates guidance from the conditional prediction and the prompts' tokens.
#pragma once

#include "network/released/layers.hpp"

#include <glint/network/network.hpp>

namespace glint::released {

class TextDecomposition;

/// A linear layer with a bank of low-rank corrections: W x + A_b B_b x, where b is the current part of the
/// run.
struct BankedLinear {
  Linear base;
  at::Tensor a, b;  // [banks,in,r], [banks,r,out]

  at::Tensor operator()(const at::Tensor& x, int64_t bank) const {
    return base(x).add_(at::matmul(at::matmul(x, a[bank]), b[bank]));
  }
};

/// Inputs output [B,C,H,W] (the conditional prediction), position [B] (step / steps, one value), tokens and
/// null_tokens [B,L,D], pooled and null_pooled [B,P]; returns the imitated guided prediction. H and W are
/// multiples of 2, at most twice `table`. The step's bank is its only notion of time. Settings: heads,
/// text_order (null-first | prompt-first: how the two prompts are stacked), svd_rank, text (legacy-rows as
/// released: the first rows of U, not a low-rank approximation; or columns), table and table_base (patches
/// per side of the position table, and of its unit).
/// Dtype:   float32 in and out; the weights' dtype inside, decompositions in float64 on the CPU.
/// Cost:    one decomposition of [2L,D] per prompt; the last few are cached.
/// Source:  Shao et al., "CoRe^2: Collect, Reflect and Refine to Generate Better and Faster",
///          arXiv:2503.09662.
class Core2Network final : public Network {
 public:
  explicit Core2Network(NetworkFile weights);

  std::vector<std::string> inputs() const override {
    return {"output", "position", "tokens", "pooled", "null_tokens", "null_pooled"};
  }
  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override;
  std::shared_ptr<const Network> with(std::string_view setting, std::string_view value) const override;
  void check_latents(const std::vector<int64_t>& shape) const override;

  /// Takes the inputs listed above.
  at::Tensor forward(const std::vector<at::Tensor>& inputs, const Trace& trace = {}) const;

 private:
  struct Head {  // reduces the text to one vector of the width, the mean over tokens
    BankedLinear in, out;
    LayerNorm norm;
    at::Tensor operator()(const at::Tensor& text, int64_t bank) const;
  };
  struct Modulation {
    Head scale, shift;
    at::Tensor operator()(const at::Tensor& h, const at::Tensor& text, const at::Tensor& trans,
                          int64_t bank) const;
  };
  struct Block {
    int64_t heads = 0;
    LayerNorm norm1, norm3;
    BankedLinear q, k, v, out, gate, down;
    at::Tensor operator()(const at::Tensor& x, int64_t bank) const;
  };
  struct Text {
    at::Tensor tokens;   // [B,2L+1,D], the pooled vectors last
    at::Tensor factors;  // [B,r,2L+1+D]: rows of U, values, rows of Vh
  };

  BankedLinear take_banked(NetworkFile& w, const std::string& name, int64_t in, int64_t out,
                           bool bias = true) const;
  Head take_head(NetworkFile& w, const std::string& name) const;
  Modulation take_modulation(NetworkFile& w, const std::string& name) const;
  Block take_block(NetworkFile& w, const std::string& prefix, int64_t hidden) const;
  void check(const std::vector<at::Tensor>& inputs) const;
  at::Tensor stacked(const at::Tensor& prompt, const at::Tensor& uncond, int64_t dim) const;
  Text read_text(const std::vector<at::Tensor>& inputs, int64_t bank) const;
  at::Tensor positions(int64_t rows, int64_t columns) const;

  std::string file_;
  at::Device device_;
  at::ScalarType dtype_;
  int64_t channels_ = 0, width_ = 0, heads_ = 0, tokens_ = 0, token_width_ = 0, pooled_ = 0;
  int64_t reader_ = 0, banks_ = 0, rank_ = 0, svd_rank_ = 0, table_ = 0, table_base_ = 0;
  bool uncond_first_ = true, legacy_rows_ = true;
  at::Tensor patch_weight_, patch_bias_;
  std::vector<Block> blocks_;
  std::vector<Modulation> modulations_;  // before the blocks, after the first four, after the rest
  Head last_;
  BankedLinear norm_out_, proj_out_, skip_in_, skip_out_, trans_;
  std::optional<BankedLinear> pool_;
  std::shared_ptr<TextDecomposition> decomposition_;
};

}  // namespace glint::released
