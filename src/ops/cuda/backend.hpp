// The attentions on a CUDA device. As those of ops/engine.hpp, but all memory is the device's and the work is
// queued on the caller's current stream: nothing waits for it, and a graph capture takes it in.
#pragma once

#include "ops/engine.hpp"

namespace glint::ops::cuda {

/// Whether these functions are there: they need a build with GLINT_CUDA.
#ifdef GLINT_WITH_CUDA
constexpr bool kBuilt = true;
#else
constexpr bool kBuilt = false;
#endif

void pisa_select(const Operands& operands, const PisaOptions& options, BlockList selected, int device);
void pisa(const Operands& operands, const PisaOptions& options, BlockList selected, int device);
void isa_plan(const Operands& operands, const IsaOptions& options, const PlanLists& plan, int device);
void isa(const Operands& operands, const IsaOptions& options, const PlanLists& plan, const Gate& gate,
         int device);

}  // namespace glint::ops::cuda
