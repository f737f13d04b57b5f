// The attentions on raw memory, implemented by the kernels and called by the operators. No tensors here.
//
// B: batch   H: heads   N: queries   M: keys   D: head size   E: value size
#pragma once

#include <glint/attention/options.hpp>

#include "ops/grid.hpp"

#include <cstdint>

namespace glint::ops {

enum class Element { Float32, Float16, BFloat16 };

/// A [B,H,tokens,size] array whose last dimension is contiguous. Strides are in elements.
struct Rows {
  void* data;
  Element element;
  int64_t batch_stride, head_stride, token_stride;
  int64_t tokens, size;
};

/// q [B,H,N,D], k [B,H,M,D], v [B,H,M,E], out [B,H,N,E].
struct Operands {
  int64_t batch, heads;
  Rows q, k, v, out;
};

/// Selected blocks, [B,H,query blocks,count], contiguous.
struct BlockList {
  int32_t* blocks;
  int64_t count;
};

/// ISA's decisions, contiguous; see glint::IsaPlan. [B,H,kept], [B,H,sharp], [B,H,diffuse],
/// [B,H,diffuse,exact].
struct PlanLists {
  BlockList context, sharp, diffuse, exact;
};

/// One float per token, a strided [B,H,N], or null.
struct Gate {
  const float* data = nullptr;
  int64_t batch_stride = 0, head_stride = 0, token_stride = 0;
};

void pisa_select(const Operands& operands, const PisaOptions& options, BlockList selected);
/// Selects blocks itself if `selected.blocks` is null.
void pisa(const Operands& operands, const PisaOptions& options, BlockList selected);
void isa_plan(const Operands& operands, const IsaOptions& options, const PlanLists& plan);
void isa(const Operands& operands, const IsaOptions& options, const PlanLists& plan, const Gate& gate);

}  // namespace glint::ops
