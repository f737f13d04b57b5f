// Options of the block-sparse attentions, as plain values. docs/attention.md explains the choices.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace glint {

/// How PISA approximates the blocks it does not select.
enum class TaylorOrder {
  Zeroth,  ///< each block by its mean key and summed values
  Hybrid,  ///< plus one first-order term shared by all blocks: the released method
  First    ///< plus a first-order term per block: most accurate, about as costly as dense attention
};

/// How PISA ranks key blocks for each query block.
enum class BlockSelection {
  Mean,        ///< scale * mean query . mean key
  Covariance,  ///< Mean + log Frobenius norm of the block's key-value covariance
  Variance     ///< Mean + log variance of the block's keys; needs no values
};

/// PISA: computes the best key blocks exactly, the others by a Taylor expansion around their mean key.
struct PisaOptions {
  double density =
      0.15;  ///< selected / all key blocks, in [0,1], at least one; 1 = dense; 0.15 is the paper's for FLUX
  int64_t block_size = 64;  ///< tokens, in [1,256]; multiples of 16 are fastest
  TaylorOrder order = TaylorOrder::Hybrid;
  BlockSelection selection = BlockSelection::Covariance;
  std::optional<double> scale = std::nullopt;  ///< of the scores; 1/sqrt(head size) if not given
  std::vector<int64_t> forced_blocks = {};  ///< key blocks every query block selects; negative = from the end

  friend bool operator==(const PisaOptions&, const PisaOptions&) = default;
};

/// ISA: attention over main tokens, then context tokens, of which only the most attended blocks are kept.
struct IsaOptions {
  int64_t main_length = 0;      ///< tokens before the context, in [1, tokens]; 0 = half
  double density = 0.0625;      ///< fraction of key blocks a diffuse query block reads exactly, in [0,1]
  double context_keep = 0.125;  ///< fraction of context blocks kept, in [0,1]
  double sharp_share = 0.5;     ///< fraction of query blocks that read every kept key, in [0,1]
  std::optional<double> scale = std::nullopt;  ///< of the scores; 1/sqrt(head size) if not given
  bool padded_tail = false;  ///< zero-pad the last block to 64 keys, as the released code does

  friend bool operator==(const IsaOptions&, const IsaOptions&) = default;
};

/// Returns the number of main tokens among `tokens`.
inline int64_t main_tokens(const IsaOptions& options, int64_t tokens) {
  return options.main_length > 0 ? options.main_length : tokens / 2;
}

}  // namespace glint
