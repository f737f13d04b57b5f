// From tensors to what the engine takes: every check of an argument is here.
#pragma once

#include "ops/engine.hpp"

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace glint::ops {

/// q, k, v and a new result, in the memory order [B,N,H,E] of torch's own CPU attention. Holds the tensors.
struct Arguments {
  at::Tensor q, k, v, out;
  Operands operands;
};

/// Checks q, k, v and makes the result. `v` may be undefined where only blocks are chosen by q and k.
/// Errors: ShapeMismatch, UnsupportedDtype, UnsupportedDevice.
Arguments checked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

/// Errors: InvalidArgument if an option is out of its range. `keys`: M.
void check(const PisaOptions& options, int64_t keys);
/// The same; ISA takes as many keys as queries.
void check(const IsaOptions& options, int64_t queries, int64_t keys);

/// Checks a list of block numbers in [0, limit) and returns it as contiguous int32.
at::Tensor block_list(const char* name, const at::Tensor& blocks, at::IntArrayRef shape, int64_t limit);

/// gate [B,S] or [B,H,S] as float32.
at::Tensor checked_gate(const at::Tensor& gate, const Operands& operands);

/// Errors: InvalidArgument for a word that is none of the choices.
TaylorOrder parse_order(std::string_view order);
BlockSelection parse_selection(std::string_view selection);

}  // namespace glint::ops
