#include "network/released/core2_network.hpp"

#include "network/released/text_decomposition.hpp"

#include <glint/core/error.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>

namespace glint::released {
namespace {

constexpr int64_t kPatch = 2;
constexpr size_t kBlocksPerHead = 4;
enum Input { Output, Position, Tokens, Pooled, UncondTokens, UncondPooled, kInputs };

/// Returns one row if all rows share memory, else all rows.
at::Tensor distinct(const at::Tensor& batch) { return batch.stride(0) == 0 ? batch.narrow(0, 0, 1) : batch; }

}  // namespace

BankedLinear Core2Network::take_banked(NetworkFile& w, const std::string& name, int64_t in, int64_t out,
                                       bool bias) const {
  return {take_linear(w, name, in, out, bias), w.take(name + ".lora_a", {banks_, in, rank_}),
          w.take(name + ".lora_b", {banks_, rank_, out})};
}

Core2Network::Head Core2Network::take_head(NetworkFile& w, const std::string& name) const {
  return {take_banked(w, name + ".0", token_width_, reader_), take_banked(w, name + ".3", reader_, width_),
          take_norm(w, name + ".2", reader_)};
}

Core2Network::Modulation Core2Network::take_modulation(NetworkFile& w, const std::string& name) const {
  return {take_head(w, name + "_linear2"), take_head(w, name + "_linear")};
}

Core2Network::Block Core2Network::take_block(NetworkFile& w, const std::string& prefix,
                                             int64_t hidden) const {
  return {.heads = heads_,
          .norm1 = take_norm(w, prefix + "norm1", width_),
          .norm3 = take_norm(w, prefix + "norm3", width_),
          .q = take_banked(w, prefix + "attn1.to_q", width_, width_, false),
          .k = take_banked(w, prefix + "attn1.to_k", width_, width_, false),
          .v = take_banked(w, prefix + "attn1.to_v", width_, width_, false),
          .out = take_banked(w, prefix + "attn1.to_out.0", width_, width_),
          .gate = take_banked(w, prefix + "ff.net.0.proj", width_, 2 * hidden),
          .down = take_banked(w, prefix + "ff.net.2", hidden, width_)};
}

Core2Network::Core2Network(NetworkFile w)
    : file_(w.file()),
      device_(w.device()),
      dtype_(w.dtype()),
      heads_(w.number("heads")),
      svd_rank_(w.number("svd_rank")),
      table_(w.number("table")),
      table_base_(w.number("table_base")),
      uncond_first_(w.either("text_order", "null-first", "prompt-first")),
      legacy_rows_(w.either("text", "legacy-rows", "columns")),
      decomposition_(std::make_shared<TextDecomposition>()) {
  const auto patch = w.shape("pos_embed.proj.weight", 4), skip = w.shape("skip_connection.weight", 2),
             lora = w.shape("proj_out.lora_a", 3), down = w.shape("transformer_blocks.0.ff.net.2.weight", 2);
  width_ = patch[0];
  channels_ = patch[1];
  banks_ = lora[0];
  rank_ = lora[2];
  token_width_ = w.shape("skip_connection2.weight", 2)[1];
  reader_ = w.shape("last_linear.0.weight", 2)[0];
  tokens_ = (skip[1] - 1) / 2;
  const bool projects = w.has("pool_prompt_linear.weight");
  pooled_ = projects ? w.shape("pool_prompt_linear.weight", 2)[1] : token_width_;
  GLINT_CHECK(skip[1] % 2 == 1 && width_ % heads_ == 0 && width_ % 4 == 0 && pooled_ % 2 == 0 &&
                  svd_rank_ <= std::min(2 * tokens_, token_width_),
              BadModel,
              "{}: sizes that do not go together: width {} with {} heads, skip_connection of {} inputs, "
              "pooled vectors "
              "of {} together, svd_rank {} of tokens of width {}",
              file_, width_, heads_, skip[1], pooled_, svd_rank_, token_width_);
  patch_weight_ = w.take("pos_embed.proj.weight", {width_, channels_, kPatch, kPatch});
  patch_bias_ = w.take("pos_embed.proj.bias", {width_});
  for (int k = 0; k == 0 || w.has(fmt::format("transformer_blocks.{}.norm1.weight", k)); ++k)
    blocks_.push_back(take_block(w, fmt::format("transformer_blocks.{}.", k), down[1]));
  GLINT_CHECK(blocks_.size() <= 2 * kBlocksPerHead, BadModel, "{}: expected at most {} blocks, got {}", file_,
              2 * kBlocksPerHead, blocks_.size());
  modulations_ = {take_modulation(w, "pre8"), take_modulation(w, "pre16")};
  if (blocks_.size() > kBlocksPerHead) modulations_.push_back(take_modulation(w, "pre24"));
  last_ = take_head(w, "last_linear");
  norm_out_ = take_banked(w, "norm_out.linear", width_, 2 * width_);
  proj_out_ = take_banked(w, "proj_out", width_, kPatch * kPatch * channels_);
  skip_in_ = take_banked(w, "skip_connection2", token_width_, 1, false);
  skip_out_ = take_banked(w, "skip_connection", 2 * tokens_ + 1, 2 * channels_, false);
  trans_ = take_banked(w, "trans_linear", 2 * tokens_ + 1 + token_width_, width_, false);
  if (projects) pool_ = take_banked(w, "pool_prompt_linear", pooled_, token_width_, false);
  w.finish();
}

std::shared_ptr<const Network> Core2Network::with(std::string_view setting, std::string_view value) const {
  if (setting != "text") return Network::with(setting, value);
  GLINT_CHECK(value == "legacy-rows" || value == "columns", InvalidArgument,
              "text: expected legacy-rows or columns, got '{}'", value);
  auto other = std::make_shared<Core2Network>(*this);
  other->legacy_rows_ = value == "legacy-rows";
  return other;
}

at::Tensor Core2Network::Head::operator()(const at::Tensor& text, int64_t bank) const {
  return out(norm(at::silu(in(text, bank))), bank).mean(1, true);
}

at::Tensor Core2Network::Modulation::operator()(const at::Tensor& h, const at::Tensor& text,
                                                const at::Tensor& trans, int64_t bank) const {
  return h.mul(scale(text, bank).add_(1.0).add_(trans)).add_(shift(text, bank));
}

at::Tensor Core2Network::Block::operator()(const at::Tensor& x, int64_t bank) const {
  const at::Tensor n = norm1(x);
  const auto split = [&](const BankedLinear& linear) {
    return linear(n, bank).unflatten(-1, {heads, -1}).transpose(1, 2);
  };
  const at::Tensor attended = at::scaled_dot_product_attention(split(q), split(k), split(v));
  const at::Tensor y = x.add(out(join_heads(attended), bank));
  const std::vector<at::Tensor> gated = gate(norm3(y), bank).chunk(2, -1);
  return y.add(down(gated[0].mul(at::gelu(gated[1])), bank));
}

at::Tensor Core2Network::stacked(const at::Tensor& prompt, const at::Tensor& uncond, int64_t dim) const {
  return uncond_first_ ? at::cat({uncond, prompt}, dim) : at::cat({prompt, uncond}, dim);
}

Core2Network::Text Core2Network::read_text(const std::vector<at::Tensor>& inputs, int64_t bank) const {
  const at::Tensor tokens = distinct(inputs[Tokens]), uncond = distinct(inputs[UncondTokens]);
  std::vector<at::Tensor> us, ss, vhs;
  for (int64_t b = 0; b < std::max(tokens.size(0), uncond.size(0)); ++b) {
    const auto row = [b](const at::Tensor& t) { return t[t.size(0) == 1 ? 0 : b]; };
    const Svd parts = (*decomposition_)(stacked(row(tokens), row(uncond), 0));
    us.push_back(legacy_rows_ ? parts.u.narrow(0, 0, svd_rank_) : parts.u.narrow(1, 0, svd_rank_).t());
    ss.push_back(parts.s.narrow(0, 0, svd_rank_));
    vhs.push_back(parts.vh.narrow(0, 0, svd_rank_));
  }
  const auto on_device = [&](const std::vector<at::Tensor>& list) {
    return at::stack(list).to(device_, dtype_);
  };
  const at::Tensor u = on_device(us), s = on_device(ss).unsqueeze(-1), vh = on_device(vhs);
  at::Tensor pooled = stacked(inputs[Pooled], inputs[UncondPooled], 1).to(device_, dtype_);
  if (pool_) pooled = (*pool_)(pooled, bank);
  const at::Tensor approximation = at::matmul(u.transpose(1, 2), s.mul(vh));
  const int64_t batch = inputs[Output].size(0);
  return {at::cat({approximation.expand({batch, -1, -1}), pooled.unsqueeze(1)}, 1), at::cat({u, s, vh}, 2)};
}

at::Tensor Core2Network::positions(int64_t rows, int64_t columns) const {
  const double unit = static_cast<double>(table_) / static_cast<double>(table_base_);
  const at::Tensor frequency =
      at::arange(width_ / 4, at::kDouble).div(static_cast<double>(width_) / 4.0).mul(-std::log(1e4)).exp();
  const auto encoded = [&](int64_t count) {
    const int64_t first = (table_ - count) / 2;
    const at::Tensor place = at::arange(first, first + count, at::kFloat).div(unit).to(at::kDouble);
    const at::Tensor angle = place.unsqueeze(1).mul(frequency);
    return at::cat({angle.sin(), angle.cos()}, 1).to(device_, dtype_);
  };
  const int64_t half = width_ / 2;
  return at::cat({encoded(columns).unsqueeze(0).expand({rows, columns, half}),
                  encoded(rows).unsqueeze(1).expand({rows, columns, half})},
                 2)
      .flatten(0, 1);
}

at::Tensor Core2Network::forward(const std::vector<at::Tensor>& inputs, const Trace& trace) const {
  const auto told = [&](std::string_view layer, const at::Tensor& value) {
    if (trace) trace(layer, value);
  };
  // A float32 quotient may fall just below the intended integer.
  const double position = inputs[Position][0].item<double>();
  const int64_t bank = std::clamp<int64_t>(
      static_cast<int64_t>(std::floor(position * static_cast<double>(banks_) + 1e-4)), 0, banks_ - 1);
  const Text text = read_text(inputs, bank);
  told("text", text.tokens);
  const at::Tensor trans = trans_(text.factors, bank).mean(1, true);
  told("trans", trans);
  const at::Tensor affine =
      skip_out_(skip_in_(text.tokens, bank).transpose(1, 2), bank).transpose(1, 2).unsqueeze(-1);
  told("skip", affine.squeeze(-1));

  const at::Tensor x = inputs[Output].to(device_, dtype_);
  const int64_t rows = x.size(2) / kPatch, columns = x.size(3) / kPatch;
  at::Tensor h = at::conv2d(x, patch_weight_, patch_bias_, {kPatch, kPatch}).flatten(2).transpose(1, 2);
  h = h.add(positions(rows, columns));
  told("patches", h);
  h = modulations_[0](h, text.tokens, trans, bank);
  for (size_t k = 0; k < blocks_.size(); ++k) {
    h = modulations_[1 + k / kBlocksPerHead](blocks_[k](h, bank), text.tokens, trans, bank);
    told(fmt::format("block.{}", k), h);
  }
  const std::vector<at::Tensor> out = norm_out_(at::silu(last_(text.tokens, bank)), bank).chunk(2, -1);
  h = at::layer_norm(h, {width_}, {}, {}, 1e-6).mul_(out[0].add(1.0)).add_(out[1]);
  h = proj_out_(h, bank);
  told("projected", h);
  h = h.reshape({-1, rows, columns, kPatch, kPatch, channels_})
          .permute({0, 5, 1, 3, 2, 4})
          .reshape(x.sizes());
  const std::vector<at::Tensor> skip = affine.chunk(2, 1);
  return h.add_(x.mul(skip[0])).add_(skip[1]);
}

void Core2Network::check_latents(const std::vector<int64_t>& shape) const {
  const int64_t limit = kPatch * table_;
  const auto fits = [limit](int64_t size) { return size < 0 || (size % kPatch == 0 && size <= limit); };
  GLINT_CHECK(
      shape.size() == 3 && (shape[0] < 0 || shape[0] == channels_) && fits(shape[1]) && fits(shape[2]),
      ShapeMismatch,
      "{}: output: the network was trained for [{},H,W], H and W multiples of {} up to {}; the model's is "
      "{}{}",
      file_, channels_, kPatch, limit, shape_string(shape),
      std::count(shape.begin(), shape.end(), -1) > 0 ? " (-1: any size)" : "");
}

void Core2Network::check(const std::vector<at::Tensor>& inputs) const {
  GLINT_CHECK(inputs.size() == kInputs, InvalidArgument, "{}: expected {} inputs ({}), got {}", file_,
              static_cast<int>(kInputs), joined_text(this->inputs(), ", "), inputs.size());
  const at::Tensor& x = inputs[Output];
  const int64_t limit = kPatch * table_;
  GLINT_CHECK(x.dim() == 4 && x.size(1) == channels_ && x.size(2) % kPatch == 0 && x.size(3) % kPatch == 0 &&
                  x.size(2) <= limit && x.size(3) <= limit,
              ShapeMismatch,
              "{}: output: the network was trained for [B,{},H,W], H and W multiples of {} up to {}; the "
              "model's is {}",
              file_, channels_, kPatch, limit, shape_string(x.sizes()));
  const int64_t b = x.size(0);
  for (Input which : {Tokens, UncondTokens})
    GLINT_CHECK(inputs[which].sizes() == at::IntArrayRef({b, tokens_, token_width_}), ShapeMismatch,
                "{}: {}: the network was trained for prompts of {} tokens of width {}, the model's are {}",
                file_, which == Tokens ? "tokens" : "null_tokens", tokens_, token_width_,
                shape_string(inputs[which].sizes()));
  for (Input which : {Pooled, UncondPooled})
    GLINT_CHECK(inputs[which].sizes() == at::IntArrayRef({b, pooled_ / 2}), ShapeMismatch,
                "{}: {}: the network was trained for pooled vectors of width {}, the model's are {}", file_,
                which == Pooled ? "pooled" : "null_pooled", pooled_ / 2, shape_string(inputs[which].sizes()));
}

std::vector<at::Tensor> Core2Network::run(std::vector<at::Tensor> inputs) const {
  check(inputs);
  return {forward(inputs).to(inputs[Output].scalar_type())};
}

}  // namespace glint::released
