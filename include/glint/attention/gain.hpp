// What sparse attention can gain at most.
#pragma once

#include <glint/attention/policy.hpp>
#include <glint/export.hpp>

namespace glint {

/// Returns the most that one attention can gain: multiply-adds of dense attention over those of `call.kind`,
/// with the policy's options. 1 if the call is dense. What is measured is less.
/// Source:  with rho = exact / all key blocks, b = block size, d = head size, N = keys: PISA 1 / (rho + 1/b +
///          d/N + 1/(2 b^2)), where d/N are the moments and the first-order term, half each. ISA: sharp and
///          diffuse query blocks over the keys that are kept, and the coarse attention, 1/b^2.
GLINT_API double gain_bound(const AttentionPolicy& policy, const AttentionCall& call);

}  // namespace glint
