// The tensors a network is conditioned on, with linear arithmetic on their token embeddings.
#pragma once

#include <glint/core/tensor.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace glint {

/// Network inputs for one prompt, or for one prompt per sample. Tensors the model does not use are undefined.
/// Shapes:  tokens [B,L,D], pooled [B,P], mask [B,L]; B is 1 (shared by all samples) or the batch size.
struct Conditioning {
  at::Tensor tokens = {};                         ///< token embeddings
  at::Tensor pooled = {};                         ///< pooled embedding
  at::Tensor mask = {};                           ///< true for tokens to attend to
  std::map<std::string, at::Tensor> extras = {};  ///< other named inputs, e.g. time_ids
};

/// The conditional and unconditional conditioning of one request.
struct Prompt {
  Conditioning cond = {};
  Conditioning uncond = {};
};

/// Returns the input called `name` (tokens, pooled, mask or an extra); undefined if there is none.
inline const at::Tensor& named_input(const Conditioning& c, const std::string& name) {
  static const at::Tensor undefined;
  if (name == "tokens") return c.tokens;
  if (name == "pooled") return c.pooled;
  if (name == "mask") return c.mask;
  const auto extra = c.extras.find(name);
  return extra == c.extras.end() ? undefined : extra->second;
}

/// Returns whether a and b share their tensors, not merely equal values, and so get the same prediction.
inline bool same_tensors(const Conditioning& a, const Conditioning& b) {
  return a.tokens.is_same(b.tokens) && a.pooled.is_same(b.pooled) && a.mask.is_same(b.mask) &&
         std::equal(
             a.extras.begin(), a.extras.end(), b.extras.begin(), b.extras.end(),
             [](const auto& x, const auto& y) { return x.first == y.first && x.second.is_same(y.second); });
}

/// Returns `conditioning` with its token embeddings replaced; pooled, mask and extras are shared.
inline Conditioning with_tokens(Conditioning conditioning, at::Tensor tokens) {
  conditioning.tokens = std::move(tokens);
  return conditioning;
}

/// Returns c with zeroed token and pooled embeddings, which some families use when there is no negative
/// prompt.
inline Conditioning zeroed(Conditioning c) {
  for (at::Tensor* tensor : {&c.tokens, &c.pooled})
    if (tensor->defined()) *tensor = tensor->new_zeros(tensor->sizes());
  return c;
}

/// Returns c with every tensor on `device`.
inline Conditioning to_device(Conditioning c, at::Device device) {
  for (at::Tensor* tensor : {&c.tokens, &c.pooled, &c.mask})
    if (tensor->defined()) *tensor = tensor->to(device);
  for (auto& [name, tensor] : c.extras) tensor = tensor.to(device);
  return c;
}

/// Concatenates the rows of all conditionings, in order. All must define the same inputs.
inline Conditioning joined(const std::vector<Conditioning>& all) {
  const auto rows = [&](const auto& input) {
    std::vector<at::Tensor> tensors;
    for (const Conditioning& c : all)
      if (input(c).defined()) tensors.push_back(input(c));
    return tensors.empty() ? at::Tensor() : at::cat(tensors);
  };
  Conditioning result{.tokens = rows([](const Conditioning& c) { return c.tokens; }),
                      .pooled = rows([](const Conditioning& c) { return c.pooled; }),
                      .mask = rows([](const Conditioning& c) { return c.mask; })};
  for (const auto& extra : all.front().extras)
    result.extras[extra.first] = rows([&](const Conditioning& c) { return c.extras.at(extra.first); });
  return result;
}

/// Returns the first conditioning if all share their tensors, else joined(all).
inline Conditioning joined_if_different(const std::vector<Conditioning>& all) {
  const bool same =
      std::all_of(all.begin(), all.end(), [&](const auto& c) { return same_tensors(c, all.front()); });
  return same ? all.front() : joined(all);
}

/// Returns the conditioning of some samples of a batch, in order; what all samples share stays shared.
inline Conditioning rows_of(Conditioning c, const std::vector<int64_t>& samples) {
  const auto select = [&](at::Tensor& tensor) {
    if (!tensor.defined() || tensor.size(0) == 1) return;
    std::vector<at::Tensor> rows;
    for (int64_t b : samples) rows.push_back(tensor.slice(0, b, b + 1));
    tensor = at::cat(rows);
  };
  for (at::Tensor* tensor : {&c.tokens, &c.pooled, &c.mask}) select(*tensor);
  for (auto& [name, tensor] : c.extras) select(tensor);
  return c;
}

/// Returns c with its token embeddings scaled by `factor`.
inline Conditioning scale(const Conditioning& c, double factor) {
  return with_tokens(c, c.tokens.mul(factor));
}

/// Returns c with token embeddings c + factor * other.
inline Conditioning add(const Conditioning& c, const Conditioning& other, double factor = 1.0) {
  return with_tokens(c, c.tokens.add(other.tokens, factor));
}

/// Returns c with token embeddings (1 - weight) c + weight other.
inline Conditioning lerp(const Conditioning& c, const Conditioning& other, double weight) {
  return with_tokens(c, at::lerp(c.tokens, other.tokens, weight));
}

}  // namespace glint
