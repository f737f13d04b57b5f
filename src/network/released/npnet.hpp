// NPNet, Golden Noise's network, which turns noise and prompt into better initial noise.
#pragma once

#include "network/released/swin.hpp"

#include <glint/network/network.hpp>

namespace glint::released {

/// Inputs latents [B,4,h,h] and tokens [B,L,D]; returns latents. Accepts only the latent and prompt sizes it
/// was trained on. Settings: tokens (L), heads (of the SVD branch), attention (true | false, overridden by
/// the setting svd_attention), features (nhwc-as-nchw as released: rows of the features are read as channels;
/// or nchw), image (side of Swin's input images).
/// Dtype:   float32, or float64 on request; decompositions in float64 on the CPU.
/// Source:  Zhou et al., "Golden Noise for Diffusion Models", ICCV 2025, arXiv:2411.09502. Deviation: no
///          stochastic depth, which the released code leaves on by never leaving training mode.
class Npnet final : public Network {
 public:
  explicit Npnet(NetworkFile weights);

  std::vector<std::string> inputs() const override { return {"latents", "tokens"}; }
  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override;
  std::shared_ptr<const Network> with(std::string_view setting, std::string_view value) const override;
  void check_latents(const std::vector<int64_t>& shape) const override;

  at::Tensor forward(const at::Tensor& latents, const at::Tensor& tokens, const Trace& trace = {}) const;

 private:
  struct SvdBranch {
    Linear u1, u2, v1, v2, s, qkv, proj, values1, values2;
    int64_t heads = 0;
    bool attention = true;

    at::Tensor operator()(const at::Tensor& latents, const Trace& trace) const;
  };

  void check(const at::Tensor& latents, const at::Tensor& tokens) const;
  at::Tensor swin_branch(const at::Tensor& x, const Trace& trace) const;

  std::string file_;
  at::Device device_;
  at::ScalarType dtype_;
  int64_t side_ = 0, tokens_ = 0, token_width_ = 0;
  bool channels_first_ = false;
  Linear text_;
  SvdBranch svd_;
  Swin swin_;
  at::Tensor down_weight_, down_bias_, up_weight_, up_bias_, alpha_, beta_;
};

}  // namespace glint::released
