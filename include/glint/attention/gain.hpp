// Upper bound on the speed-up from sparse attention.
#pragma once

#include <glint/attention/policy.hpp>
#include <glint/export.hpp>

namespace glint {

/// Returns the maximum speed-up of one attention call: multiply-adds of dense attention over those of
/// `call.kind` under the policy's options. 1 for dense calls. Measured speed-ups are smaller.
/// Source:  with rho = exact / all key blocks, b = block size, d = head size, N = keys:
///          PISA: 1 / (rho + 1/b + d/N + 1/(2 b^2)), where d/N is half moments, half first-order term.
///          ISA: sharp and diffuse query blocks over the kept keys, plus 1/b^2 for the coarse attention.
GLINT_API double gain_bound(const AttentionPolicy& policy, const AttentionCall& call);

}  // namespace glint
