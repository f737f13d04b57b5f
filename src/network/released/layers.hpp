// The layers that the networks in this folder are built from.
#pragma once

#include "network/released/network_file.hpp"

#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>

#include <functional>
#include <optional>

namespace glint::released {

/// Receives every layer's output, for tests that compare them one by one. May be empty.
using Trace = std::function<void(std::string_view layer, const at::Tensor& value)>;

struct Linear {
  at::Tensor weight;  // [out,in]
  std::optional<at::Tensor> bias;

  at::Tensor operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }
};

inline Linear take_linear(NetworkFile& w, const std::string& name, int64_t in, int64_t out,
                          bool bias = true) {
  Linear linear{w.take(name + ".weight", {out, in}), std::nullopt};
  if (bias) linear.bias = w.take(name + ".bias", {out});
  return linear;
}

struct LayerNorm {
  at::Tensor weight, bias;  // [C]

  at::Tensor operator()(const at::Tensor& x) const {
    return at::layer_norm(x, weight.sizes(), weight, bias, 1e-5);
  }
};

inline LayerNorm take_norm(NetworkFile& w, const std::string& name, int64_t width) {
  return {w.take(name + ".weight", {width}), w.take(name + ".bias", {width})};
}

/// Reshapes a linear layer's [B,N,3 heads d] to [3,B,heads,N,d].
inline at::Tensor split_heads(const at::Tensor& qkv, int64_t heads) {
  return qkv.unflatten(-1, {3, heads, -1}).permute({2, 0, 3, 1, 4});
}

/// Reshapes [B,heads,N,d] to [B,N,heads d].
inline at::Tensor join_heads(const at::Tensor& x) { return x.transpose(1, 2).flatten(2); }

}  // namespace glint::released
