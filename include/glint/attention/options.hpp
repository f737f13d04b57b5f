// What the block-sparse attentions compute, as plain values. docs/attention.md explains the choices.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace glint {

/// How the blocks that were not selected enter PISA's result.
enum class TaylorOrder {
  Zeroth,  ///< each block as its mean key and its summed values
  Hybrid,  ///< that, and one first-order term shared by all blocks: the method as released
  First    ///< that, and every block's own first-order term: the most accurate, costs about as much as dense
           ///< attention
};

/// What PISA ranks key blocks by, for every query block.
enum class BlockSelection {
  Mean,        ///< scale * mean query . mean key
  Covariance,  ///< that + log of the Frobenius norm of the block's key-value covariance
  Variance     ///< that + log of the variance of the block's keys: needs no values
};

/// PISA: the best key blocks exactly, the others by a Taylor expansion around their mean key.
struct PisaOptions {
  double density =
      0.15;  ///< selected / all key blocks, in [0,1]; at least one block, 1 = dense. The paper's for FLUX
  int64_t block_size = 64;  ///< tokens, in [1,256]; a multiple of 16 is fastest
  TaylorOrder order = TaylorOrder::Hybrid;
  BlockSelection selection = BlockSelection::Covariance;
  std::optional<double> scale = std::nullopt;  ///< of the scores; 1/sqrt(head size) if not given
  std::vector<int64_t> forced_blocks =
      {};  ///< key blocks every query block selects, counted from the end if < 0

  friend bool operator==(const PisaOptions&, const PisaOptions&) = default;
};

/// ISA: attention over main tokens followed by context tokens, of which only the most looked-at blocks are
/// kept.
struct IsaOptions {
  int64_t main_length = 0;      ///< tokens before the context, in [1, tokens]; 0 = the first half
  double density = 0.0625;      ///< share of key blocks that a diffuse query block reads exactly, in [0,1]
  double context_keep = 0.125;  ///< share of context blocks kept, in [0,1]
  double sharp_share = 0.5;     ///< share of query blocks that read every kept key, in [0,1]
  std::optional<double> scale = std::nullopt;  ///< of the scores; 1/sqrt(head size) if not given
  bool padded_tail =
      false;  ///< the released code at sizes that are no multiple of 64: blocks padded with zero keys

  friend bool operator==(const IsaOptions&, const IsaOptions&) = default;
};

/// Returns how many of `tokens` are main tokens.
inline int64_t main_tokens(const IsaOptions& options, int64_t tokens) {
  return options.main_length > 0 ? options.main_length : tokens / 2;
}

}  // namespace glint
