#include "network/released/npnet.hpp"

#include "network/released/canonical_svd.hpp"

#include <glint/core/error.hpp>

#include <ATen/ops/conv2d.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <algorithm>

namespace glint::released {
namespace {

constexpr int64_t kChannels = 4;  // two by two of them make one matrix

/// [B,4,h,w] to [B,2h,2w]: channel 2a + b is block (a,b).
at::Tensor tiled(const at::Tensor& x) {
  const int64_t b = x.size(0), h = x.size(2), w = x.size(3);
  return x.reshape({b, 2, 2, h, w}).transpose(2, 3).reshape({b, 2 * h, 2 * w});
}

at::Tensor untiled(const at::Tensor& m) {
  const int64_t b = m.size(0), h = m.size(1) / 2, w = m.size(2) / 2;
  return m.reshape({b, 2, h, 2, w}).transpose(2, 3).reshape({b, kChannels, h, w});
}

}  // namespace

Npnet::Npnet(NetworkFile w)
    : file_(w.file()),
      device_(w.device()),
      dtype_(w.dtype()),
      tokens_(w.number("tokens")),
      channels_first_(!w.either("features", "nhwc-as-nchw", "nchw")),
      swin_(w, "unet_embedding.swin.") {
  const auto first = w.shape("unet_svd.mlp1.0.weight", 2), values = w.shape("unet_svd.mlp4.0.weight", 2),
             text = w.shape("embedding.linear.weight", 2);
  const int64_t width = first[1], hidden = first[0];
  side_ = width / 2;
  token_width_ = text[1] / tokens_;
  svd_.heads = w.number("heads");
  svd_.attention = w.either("attention", "true", "false");
  GLINT_CHECK(
      width % 2 == 0 && width % svd_.heads == 0 && text[1] % tokens_ == 0, BadModel,
      "{}: unet_svd of width {} with {} heads, or embedding.linear of {} inputs for {} tokens, cannot be",
      file_, width, svd_.heads, text[1], tokens_);
  text_ = take_linear(w, "embedding.linear", text[1], 2 * kChannels);
  svd_.u1 = take_linear(w, "unet_svd.mlp1.0", width, hidden);
  svd_.u2 = take_linear(w, "unet_svd.mlp1.2", hidden, width);
  svd_.v1 = take_linear(w, "unet_svd.mlp2.0", width, hidden);
  svd_.v2 = take_linear(w, "unet_svd.mlp2.2", hidden, width);
  svd_.s = take_linear(w, "unet_svd.mlp3.0", width, width);
  svd_.qkv = take_linear(w, "unet_svd.attention.qkv", width, 3 * width, false);
  svd_.proj = take_linear(w, "unet_svd.attention.proj", width, width);
  svd_.values1 = take_linear(w, "unet_svd.mlp4.0", width, values[0]);
  svd_.values2 = take_linear(w, "unet_svd.mlp4.2", values[0], width);
  down_weight_ = w.take("unet_embedding.downconv.weight", {3, kChannels, 1, 1});
  down_bias_ = w.take("unet_embedding.downconv.bias", {3});
  const int64_t features = channels_first_ ? swin_.feature_channels() : swin_.feature_rows();
  up_weight_ = w.take("unet_embedding.upconv.weight", {kChannels, features, 1, 1});
  up_bias_ = w.take("unet_embedding.upconv.bias", {kChannels});
  alpha_ = w.take("alpha", {1});
  beta_ = w.take("beta", {1});
  w.finish();
}

std::shared_ptr<const Network> Npnet::with(std::string_view setting, std::string_view value) const {
  if (setting != "svd_attention") return Network::with(setting, value);
  GLINT_CHECK(value == "true" || value == "false", InvalidArgument,
              "svd_attention: expected true or false, got '{}'", value);
  auto other = std::make_shared<Npnet>(*this);
  other->svd_.attention = value == "true";
  return other;
}

at::Tensor Npnet::SvdBranch::operator()(const at::Tensor& latents, const Trace& trace) const {
  std::vector<at::Tensor> us, ss, vhs;
  for (const at::Tensor& matrix : tiled(latents).unbind()) {
    Svd parts = canonical_svd(matrix);
    us.push_back(std::move(parts.u));
    ss.push_back(std::move(parts.s));
    vhs.push_back(std::move(parts.vh));
  }
  const auto on_device = [&](const std::vector<at::Tensor>& list) {
    return at::stack(list).to(latents.options());
  };
  const at::Tensor u_b = on_device(us), s_b = on_device(ss), vh_b = on_device(vhs);
  at::Tensor out =
      u2(at::relu(u1(u_b.transpose(1, 2)))).add_(v2(at::relu(v1(vh_b)))).add_(s(s_b).unsqueeze(1));
  if (trace) trace("svd.tokens", out);
  const auto new_values = [&](const at::Tensor& x) { return values2(at::relu(values1(x))); };
  if (attention) {
    const at::Tensor parts = split_heads(qkv(out), heads);
    const at::Tensor mixed = at::scaled_dot_product_attention(parts[0], parts[1], parts[2]);
    out = new_values(proj(join_heads(mixed)).mean(1));
  } else {
    out = new_values(out).mean(1);
  }
  out = out.add(s_b);
  if (trace) trace("svd.values", out);
  return untiled(at::matmul(u_b.mul(out.unsqueeze(1)), vh_b));
}

at::Tensor Npnet::swin_branch(const at::Tensor& x, const Trace& trace) const {
  const at::Tensor image =
      at::conv2d(at::upsample_nearest2d(x, {swin_.side(), swin_.side()}), down_weight_, down_bias_);
  if (trace) trace("swin.image", image);
  at::Tensor features = swin_(image, trace);
  if (channels_first_) features = features.permute({0, 3, 1, 2});
  return at::conv2d(at::upsample_nearest2d(features.contiguous(), {side_, side_}), up_weight_, up_bias_);
}

at::Tensor Npnet::forward(const at::Tensor& latents, const at::Tensor& tokens, const Trace& trace) const {
  const at::Tensor x = latents.to(device_, dtype_);
  const std::vector<at::Tensor> affine =
      text_(tokens.to(device_, dtype_).flatten(1)).unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
  const at::Tensor text = at::group_norm(x, 1, {}, {}, 1e-6).mul(affine[0].add(1.0)).add(affine[1]);
  if (trace) trace("text", text);
  const at::Tensor svd = svd_(x, trace);
  if (trace) trace("svd", svd);
  const at::Tensor swin = swin_branch(x.add(text), trace);
  if (trace) trace("swin", swin);
  return svd.add(text.mul(alpha_.sigmoid().mul(2.0).sub(1.0))).add(swin.mul(beta_));
}

void Npnet::check_latents(const std::vector<int64_t>& shape) const {
  const auto fits = [](int64_t size, int64_t own) { return size < 0 || size == own; };
  GLINT_CHECK(
      shape.size() == 3 && fits(shape[0], kChannels) && fits(shape[1], side_) && fits(shape[2], side_),
      ShapeMismatch, "{}: latents: the network was trained for {} x {} x {} alone, the model's are {}{}",
      file_, kChannels, side_, side_, shape_string(shape),
      std::count(shape.begin(), shape.end(), -1) > 0 ? " (-1: any size)" : "");
}

void Npnet::check(const at::Tensor& latents, const at::Tensor& tokens) const {
  const int64_t b = latents.dim() > 0 ? latents.size(0) : 0;
  GLINT_CHECK(latents.sizes() == at::IntArrayRef({b, kChannels, side_, side_}), ShapeMismatch,
              "{}: latents: the network was trained for {} x {} x {} alone, the model has {}", file_,
              kChannels, side_, side_, shape_string(latents.sizes()));
  GLINT_CHECK(tokens.sizes() == at::IntArrayRef({b, tokens_, token_width_}), ShapeMismatch,
              "{}: tokens: the network was trained for prompts of {} tokens of width {}, the model's are {}",
              file_, tokens_, token_width_, shape_string(tokens.sizes()));
}

std::vector<at::Tensor> Npnet::run(std::vector<at::Tensor> inputs) const {
  GLINT_CHECK(inputs.size() == 2, InvalidArgument, "{}: expected latents and tokens, got {} inputs", file_,
              inputs.size());
  check(inputs[0], inputs[1]);
  return {forward(inputs[0], inputs[1]).to(inputs[0].scalar_type())};
}

}  // namespace glint::released
