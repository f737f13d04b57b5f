#include "network/released/swin.hpp"

#include <glint/core/error.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/meshgrid.h>
#include <ATen/ops/roll.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <fmt/format.h>

namespace glint::released {
namespace {

constexpr size_t kMostStages = 8;

/// Cuts [B,H,W,C] into windows, [B windows,size^2,C].
at::Tensor cut(const at::Tensor& x, int64_t size) {
  const int64_t b = x.size(0), h = x.size(1), w = x.size(2), c = x.size(3);
  return x.reshape({b, h / size, size, w / size, size, c}).transpose(2, 3).reshape({-1, size * size, c});
}

/// Undoes `cut`.
at::Tensor joined(const at::Tensor& x, int64_t size, int64_t h, int64_t w) {
  const int64_t c = x.size(-1);
  return x.reshape({-1, h / size, w / size, size, size, c}).transpose(2, 3).reshape({-1, h, w, c});
}

/// Returns [size^2,size^2], the bias table's row for each pair of positions in a window.
at::Tensor relative_index(int64_t size) {
  const at::Tensor line = at::arange(size, at::kLong);
  const at::Tensor place = at::stack(at::meshgrid({line, line}, "ij")).flatten(1);
  const at::Tensor apart = place.unsqueeze(2).sub(place.unsqueeze(1)).add(size - 1);
  return apart[0].mul(2 * size - 1).add(apart[1]);
}

/// Returns [windows,size^2,size^2]: 0 between positions that were neighbours before the cyclic shift, -100
/// between others.
at::Tensor shift_mask(int64_t side, int64_t size, int64_t shift) {
  // The band of each row: untouched, cut by the shift, or wrapped around from the other end.
  const at::Tensor row = at::arange(side, at::kLong);
  const at::Tensor band = row.ge(side - size).to(at::kLong).add(row.ge(side - shift).to(at::kLong));
  const at::Tensor region = band.unsqueeze(1).mul(3).add(band.unsqueeze(0)).reshape({1, side, side, 1});
  const at::Tensor number = cut(region, size).squeeze(-1);
  return number.unsqueeze(1).eq(number.unsqueeze(2)).logical_not().to(at::kFloat).mul(-100.0);
}

}  // namespace

Swin::Swin(NetworkFile& w, const std::string& prefix) : side_(w.number("image")) {
  const auto patches = w.shape(prefix + "patch_embed.proj.weight", 4);
  width_ = patches[0];
  patch_ = patches[2];
  patch_weight_ = w.take(prefix + "patch_embed.proj.weight", {width_, 3, patch_, patch_});
  patch_bias_ = w.take(prefix + "patch_embed.proj.bias", {width_});
  patch_norm_ = take_norm(w, prefix + "patch_embed.norm", width_);
  const auto block_name = [&](size_t s, int k) { return prefix + fmt::format("layers.{}.blocks.{}.", s, k); };
  for (size_t s = 0; s < kMostStages && (s == 0 || w.has(block_name(s, 0) + "norm1.weight")); ++s) {
    const auto table = w.shape(block_name(s, 0) + "attn.relative_position_bias_table", 2);
    const int64_t width = width_ << s, side = side_ / patch_ >> s, heads = table[1];
    if (s == 0) window_ = (static_cast<int64_t>(std::llround(std::sqrt(table[0]))) + 1) / 2;
    GLINT_CHECK(side_ % (patch_ << s) == 0 && heads > 0 && width % heads == 0 && window_ > 0 &&
                    (side <= window_ || side % window_ == 0),
                BadModel, "{}: stage {}: {} x {} places of width {} fit neither windows of {} nor {} heads",
                w.file(), s, side, side, width, window_, heads);
    Stage& stage = stages_.emplace_back();
    if (s > 0) {
      const std::string name = prefix + fmt::format("layers.{}.downsample.", s);
      stage.merge_norm = take_norm(w, name + "norm", 2 * width);
      stage.merge = take_linear(w, name + "reduction", 2 * width, width, false);
    }
    for (int k = 0; k == 0 || w.has(block_name(s, k) + "norm1.weight"); ++k)
      stage.blocks.push_back(take_block(w, block_name(s, k), width, heads, side, k % 2 == 1));
  }
  norm_ = take_norm(w, prefix + "norm", feature_channels());
}

Swin::Block Swin::take_block(NetworkFile& w, const std::string& prefix, int64_t width, int64_t heads,
                             int64_t side, bool shifted) const {
  const int64_t size = std::min(side, window_), shift = shifted && side > window_ ? size / 2 : 0;
  Block block{.heads = heads,
              .window = size,
              .shift = shift,
              .norm1 = take_norm(w, prefix + "norm1", width),
              .norm2 = take_norm(w, prefix + "norm2", width),
              .qkv = take_linear(w, prefix + "attn.qkv", width, 3 * width),
              .proj = take_linear(w, prefix + "attn.proj", width, width),
              .fc1 = take_linear(w, prefix + "mlp.fc1", width, 4 * width),
              .fc2 = take_linear(w, prefix + "mlp.fc2", 4 * width, width),
              .bias = {}};
  const at::Tensor table =
      w.take(prefix + "attn.relative_position_bias_table", {(2 * size - 1) * (2 * size - 1), heads});
  if (!table.defined()) return block;
  const int64_t n = size * size;
  block.bias = table.index_select(0, relative_index(size).flatten().to(table.device()))
                   .reshape({n, n, heads})
                   .permute({2, 0, 1});
  if (shift > 0) block.bias = block.bias.add(shift_mask(side, size, shift).unsqueeze(1).to(table.options()));
  return block;
}

at::Tensor Swin::Block::attention(const at::Tensor& x) const {
  const at::Tensor parts = split_heads(qkv(x), heads);
  const double scale = 1.0 / std::sqrt(static_cast<double>(parts.size(-1)));
  at::Tensor weights = at::matmul(parts[0].mul(scale), parts[1].transpose(-1, -2));  // [B windows,heads,n,n]
  if (bias.dim() == 4)
    weights = weights.unflatten(0, {-1, bias.size(0)}).add(bias).flatten(0, 1);
  else
    weights = weights.add(bias);
  return proj(join_heads(at::matmul(weights.softmax(-1), parts[2])));
}

at::Tensor Swin::Block::operator()(const at::Tensor& x) const {
  const int64_t height = x.size(1), width = x.size(2);
  at::Tensor h = norm1(x);
  if (shift > 0) h = at::roll(h, {-shift, -shift}, {1, 2});
  h = joined(attention(cut(h, window)), window, height, width);
  if (shift > 0) h = at::roll(h, {shift, shift}, {1, 2});
  const at::Tensor y = x.add(h);
  return y.add(fc2(at::gelu(fc1(norm2(y)))));
}

at::Tensor Swin::operator()(const at::Tensor& images, const Trace& trace) const {
  at::Tensor x = at::conv2d(images, patch_weight_, patch_bias_, {patch_, patch_}).permute({0, 2, 3, 1});
  x = patch_norm_(x);
  for (size_t s = 0; s < stages_.size(); ++s) {
    const Stage& stage = stages_[s];
    if (stage.merge_norm) {
      const auto corner = [&](int64_t i, int64_t j) {
        return x.slice(1, i, std::nullopt, 2).slice(2, j, std::nullopt, 2);
      };
      x = stage.merge(
          (*stage.merge_norm)(at::cat({corner(0, 0), corner(1, 0), corner(0, 1), corner(1, 1)}, -1)));
    }
    for (const Block& block : stage.blocks) x = block(x);
    if (trace) trace(fmt::format("swin.{}", s), x);
  }
  return norm_(x);
}

}  // namespace glint::released
