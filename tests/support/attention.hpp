// Inputs for attention tests, and the scalar reference on tensors.
#pragma once

#include <glint/core/rng.hpp>
#include <glint/core/tensor.hpp>
#include <glint/ops/sparse_attention.hpp>

#include "tests/support/attention_reference.hpp"
#include "tests/support/catch.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/scaled_dot_product_attention.h>

namespace glint::test {

struct Inputs {
  at::Tensor q, k, v;

  Inputs to(at::ScalarType type) const { return {q.to(type), k.to(type), v.to(type)}; }
  /// The same values with the heads of a token side by side, as networks hand them over.
  Inputs heads_inside() const {
    const auto apart = [](const at::Tensor& x) { return x.transpose(1, 2).contiguous().transpose(1, 2); };
    return {apart(q), apart(k), apart(v)};
  }
};

inline at::Tensor normal(uint64_t seed, const std::vector<int64_t>& shape) {
  return NoiseStream(seed, 1).normal(shape)[0];
}

/// Unit normal inputs [B,H,n,d], keys and values [B,H,m,d] and [B,H,m,e].
inline Inputs inputs(uint64_t seed, int64_t n, int64_t m, int64_t d, int64_t e, int64_t heads = 2,
                     int64_t batch = 1) {
  return {normal(3 * seed, {batch, heads, n, d}), normal(3 * seed + 1, {batch, heads, m, d}),
          normal(3 * seed + 2, {batch, heads, m, e})};
}
inline Inputs inputs(uint64_t seed, int64_t n, int64_t d) { return inputs(seed, n, n, d, d); }

inline double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

inline at::Tensor sdpa(const Inputs& x, std::optional<double> scale = std::nullopt) {
  return at::scaled_dot_product_attention(x.q, x.k, x.v, std::nullopt, 0.0, false, scale);
}

inline ops::reference::Matrix matrix(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kDouble).contiguous();
  return {x.size(0), x.size(1), {wide.data_ptr<double>(), wide.data_ptr<double>() + wide.numel()}};
}

/// Calls function(head) for each head and returns the matrices as [B,H,N,E] in double.
template <typename Function>
at::Tensor per_head(const Inputs& x, Function&& function) {
  at::Tensor out = at::empty({x.q.size(0), x.q.size(1), x.q.size(2), x.v.size(3)}, at::kDouble);
  for (int64_t b = 0; b < x.q.size(0); ++b)
    for (int64_t h = 0; h < x.q.size(1); ++h) {
      const ops::reference::Matrix m =
          function(ops::reference::Head{matrix(x.q[b][h]), matrix(x.k[b][h]), matrix(x.v[b][h])}, b, h);
      std::copy(m.values.begin(), m.values.end(), out[b][h].data_ptr<double>());
    }
  return out;
}

/// Rows of block numbers [rows,count] of one head.
inline ops::reference::Blocks block_rows(const at::Tensor& blocks) {
  ops::reference::Blocks rows;
  for (int64_t i = 0; i < blocks.size(0); ++i) {
    const at::Tensor row = blocks[i].contiguous();
    rows.emplace_back(row.data_ptr<int32_t>(), row.data_ptr<int32_t>() + row.numel());
  }
  return rows;
}

inline at::Tensor reference_pisa(const Inputs& x, const PisaOptions& options, const at::Tensor& selected) {
  return per_head(x, [&](const ops::reference::Head& head, int64_t b, int64_t h) {
    return ops::reference::pisa(head, options, block_rows(selected[b][h]));
  });
}

}  // namespace glint::test
