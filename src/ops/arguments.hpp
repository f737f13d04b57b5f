// Converts tensors to the engine's types; all argument checks are here.
#pragma once

#include "ops/engine.hpp"

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace glint::ops {

/// q, k, v and a new result, in the memory order [B,N,H,E] of torch's own CPU attention. Keeps the tensors
/// alive.
struct Arguments {
  at::Tensor q, k, v, out;
  Operands operands;
};

/// Whether this build has kernels for a device.
bool has_kernels(const at::Device& device);

/// Checks q, k, v and allocates the result. `v` may be undefined when only selecting blocks from q and k.
/// Errors: ShapeMismatch, UnsupportedDtype, UnsupportedDevice.
Arguments checked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

/// Checks the options; `keys` is M.   Errors: InvalidArgument if an option is out of range.
void check(const PisaOptions& options, int64_t keys);
/// Same; ISA requires as many keys as queries.
void check(const IsaOptions& options, int64_t queries, int64_t keys);

/// Checks a list of block indices in [0, limit) and returns it as contiguous int32 on `device`. The numbers
/// of a list on a GPU are not looked at, which would wait for it; out of range, they read nothing beyond the
/// tensors.
at::Tensor block_list(const char* name, const at::Tensor& blocks, at::IntArrayRef shape, int64_t limit,
                      const at::Device& device);

/// Returns the gate, [B,S] or [B,H,S], as float32 on `device`.
at::Tensor checked_gate(const at::Tensor& gate, const Operands& operands, const at::Device& device);

/// Parses an enumerator's name.   Errors: InvalidArgument for unknown names.
TaylorOrder parse_order(std::string_view order);
BlockSelection parse_selection(std::string_view selection);

}  // namespace glint::ops
