// Block-sparse attention on tensors: PISA and ISA. The library glint_ops registers the same functions as
// torch.ops.glint.pisa, pisa_select, isa and isa_plan.
#pragma once

#include <glint/attention/options.hpp>
#include <glint/export.hpp>

#include <glint/core/tensor.hpp>

#include <optional>

namespace glint {

/// Returns attention in which each query block reads its best key blocks exactly and the rest through their
/// statistics.
///
/// `block_indices`, if given, replaces the computed selection of key blocks per query block, in any order.
/// Shapes:  q [B,H,N,D], k [B,H,M,D], v [B,H,M,E] -> [B,H,N,E], in memory [B,N,H,E] like torch's own CPU
///          attention; block_indices [B,H,ceil(N/b),kappa], kappa = clamp(trunc(density * ceil(M/b)), 1,
///          ceil(M/b)). D and E up to 256. A short last block counts with its true length.
/// Dtype:   float32, float16 or bfloat16; float32 inside.
/// Cost:    (density + 1/b + D/M) of dense attention for order hybrid; memory: see docs/attention.md.
/// Errors:  ShapeMismatch, UnsupportedDtype, UnsupportedDevice, InvalidArgument, each naming the argument.
/// Source:  xie-lab-ml/piecewise-sparse-attention (PISA), 2026. Deviations: float32 statistics; the mass of
///          the approximated blocks follows the running maximum, which the released kernel misses.
GLINT_API at::Tensor pisa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const PisaOptions& options = {},
                          const std::optional<at::Tensor>& block_indices = std::nullopt);

/// Returns the blocks pisa selects: int32 [B,H,ceil(N/b),kappa], ascending. Scores are float32; ties go to
/// the lowest index.   Errors: as pisa.
GLINT_API at::Tensor pisa_select(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const PisaOptions& options = {});

/// ISA's decisions, all int32. Blocks hold 64 tokens.
struct IsaPlan {
  at::Tensor context_blocks;  ///< [B,H,kept] relative to the first context block, best first
  at::Tensor sharp_blocks;    ///< [B,H,sharp] query blocks that read all keys, sharpest first
  at::Tensor diffuse_blocks;  ///< [B,H,others] the other query blocks, sharpest first
  at::Tensor
      exact_blocks;  ///< [B,H,others,kappa] kept key blocks each diffuse block reads exactly, ascending
};

/// Returns the decisions isa makes.   Shapes: q, k [B,H,S,D].   Errors: as isa.
GLINT_API IsaPlan isa_plan(const at::Tensor& q, const at::Tensor& k, const IsaOptions& options);

/// Returns in-context sparse attention over `main_length` tokens followed by a context of which few blocks
/// are kept. Query blocks with sharp coarse attention read every kept key; the others read some blocks
/// exactly and the rest as means.
///
/// `gate`, if given, adds that multiple of the coarse attention (between block means) to each token. Context
/// blocks start at main_length, whatever its size, and count with their true length unless padded_tail is
/// set.
/// Shapes:  q, k [B,H,S,D], v [B,H,S,E] -> [B,H,S,E], in memory [B,S,H,E]; gate [B,S] or [B,H,S].
/// Dtype:   float32, float16 or bfloat16; float32 inside.
/// Errors:  ShapeMismatch, UnsupportedDtype, UnsupportedDevice, InvalidArgument, each naming the argument.
/// Source:  xie-lab-ml/Lightning-Unified-Video-Editor-via-In-Context-Sparse-Attention, 2026, the method only.
///          Deviations: one running maximum for exact keys and means; true block lengths unless padded_tail.
GLINT_API at::Tensor isa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const IsaOptions& options, const std::optional<at::Tensor>& gate = std::nullopt);

/// Same, with the decisions given.
GLINT_API at::Tensor isa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const IsaOptions& options, const IsaPlan& plan,
                         const std::optional<at::Tensor>& gate = std::nullopt);

}  // namespace glint
