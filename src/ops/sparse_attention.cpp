#include <glint/ops/sparse_attention.hpp>

#include "ops/arguments.hpp"
#include "ops/cuda/backend.hpp"

#include <glint/core/error.hpp>
#include <glint/core/tensor.hpp>

namespace glint {
namespace {

using ops::Arguments;
using ops::BlockList;
using ops::Grid;
using ops::IsaGrid;
using ops::PlanLists;

IsaGrid grid_of(const IsaOptions& options, int64_t tokens) {
  return {options.main_length, tokens, options.padded_tail};
}

BlockList list_of(const at::Tensor& blocks) { return {blocks.data_ptr<int32_t>(), blocks.size(-1)}; }

PlanLists lists_of(const IsaPlan& plan) {
  return {list_of(plan.context_blocks), list_of(plan.sharp_blocks), list_of(plan.diffuse_blocks),
          list_of(plan.exact_blocks)};
}

/// Whether the kernels of a CUDA device are to be used.
bool on_cuda(const Arguments& a) { return ops::cuda::kBuilt && a.q.is_cuda(); }
int device_of(const Arguments& a) { return static_cast<int>(a.q.device().index()); }

void run_pisa_select(const Arguments& a, const PisaOptions& options, BlockList selected) {
  if constexpr (ops::cuda::kBuilt)
    if (on_cuda(a)) return ops::cuda::pisa_select(a.operands, options, selected, device_of(a));
  ops::pisa_select(a.operands, options, selected);
}
void run_pisa(const Arguments& a, const PisaOptions& options, BlockList selected) {
  if constexpr (ops::cuda::kBuilt)
    if (on_cuda(a)) return ops::cuda::pisa(a.operands, options, selected, device_of(a));
  ops::pisa(a.operands, options, selected);
}
void run_isa_plan(const Arguments& a, const IsaOptions& options, const PlanLists& plan) {
  if constexpr (ops::cuda::kBuilt)
    if (on_cuda(a)) return ops::cuda::isa_plan(a.operands, options, plan, device_of(a));
  ops::isa_plan(a.operands, options, plan);
}
void run_isa(const Arguments& a, const IsaOptions& options, const PlanLists& plan, const ops::Gate& gate) {
  if constexpr (ops::cuda::kBuilt)
    if (on_cuda(a)) return ops::cuda::isa(a.operands, options, plan, gate, device_of(a));
  ops::isa(a.operands, options, plan, gate);
}

IsaPlan plan_for(const Arguments& a, const IsaOptions& options) {
  const IsaGrid grid = grid_of(options, a.q.size(2));
  const int64_t kept = grid.kept(options.context_keep), sharp = grid.sharp(options.sharp_share);
  const int64_t diffuse = grid.blocks() - sharp, exact = grid.exact(options.density, kept);
  const auto blocks = [&](std::vector<int64_t> tail) {
    tail.insert(tail.begin(), {a.q.size(0), a.q.size(1)});
    return at::empty(tail, a.q.options().dtype(at::kInt));
  };
  IsaPlan plan{blocks({kept}), blocks({sharp}), blocks({diffuse}), blocks({diffuse, exact})};
  run_isa_plan(a, options, lists_of(plan));
  return plan;
}

at::Tensor isa_with(const Arguments& a, const IsaOptions& options, const IsaPlan& plan,
                    const std::optional<at::Tensor>& gate) {
  at::Tensor gates;
  ops::Gate view;
  if (gate && gate->defined()) {
    gates = ops::checked_gate(*gate, a.operands, a.q.device());
    view = {gates.data_ptr<float>(), gates.stride(0), gates.stride(1), gates.stride(2)};
  }
  run_isa(a, options, lists_of(plan), view);
  return a.out;
}

/// Checks that every query block is in exactly one of the two lists, unless that would wait for a GPU.
void check_partition(const at::Tensor& sharp, const at::Tensor& diffuse, int64_t blocks) {
  if (!sharp.is_cpu() || !diffuse.is_cpu()) return;
  const at::Tensor all = at::cat({sharp, diffuse}, 2).contiguous();
  for (int64_t row = 0; row < all.numel() / blocks; ++row) {
    std::vector<int32_t> sorted(all.data_ptr<int32_t>() + row * blocks,
                                all.data_ptr<int32_t>() + (row + 1) * blocks);
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    GLINT_CHECK(twice == sorted.end(), InvalidArgument,
                "diffuse_blocks: expected the blocks that are not in sharp_blocks, got {} too", *twice);
  }
}

}  // namespace

at::Tensor pisa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const PisaOptions& options,
                const std::optional<at::Tensor>& block_indices) {
  const Arguments a = ops::checked(q, k, v);
  ops::check(options, k.size(2));
  at::Tensor given;
  BlockList selected{nullptr, 0};
  if (block_indices && block_indices->defined()) {
    const int64_t blocks = Grid{k.size(2), options.block_size}.blocks();
    GLINT_CHECK(block_indices->dim() == 4 && block_indices->size(3) >= 1 && block_indices->size(3) <= blocks,
                ShapeMismatch, "block_indices: expected [B,H,query blocks,1 to {}], got {}", blocks,
                shape_string(block_indices->sizes()));
    given = ops::block_list(
        "block_indices", *block_indices,
        {q.size(0), q.size(1), Grid{q.size(2), options.block_size}.blocks(), block_indices->size(3)}, blocks,
        q.device());
    selected = list_of(given);
  }
  run_pisa(a, options, selected);
  return a.out;
}

at::Tensor pisa_select(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const PisaOptions& options) {
  const Arguments a = ops::checked(q, k, v);
  ops::check(options, k.size(2));
  const int64_t rows = Grid{q.size(2), options.block_size}.blocks();
  const int64_t count = ops::budget(options.density, Grid{k.size(2), options.block_size}.blocks());
  at::Tensor selected = at::empty({q.size(0), q.size(1), rows, count}, q.options().dtype(at::kInt));
  run_pisa_select(a, options, list_of(selected));
  return selected;
}

IsaPlan isa_plan(const at::Tensor& q, const at::Tensor& k, const IsaOptions& options) {
  const Arguments a = ops::checked(q, k, k);
  ops::check(options, q.size(2), k.size(2));
  return plan_for(a, options);
}

at::Tensor isa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const IsaOptions& options,
               const std::optional<at::Tensor>& gate) {
  const Arguments a = ops::checked(q, k, v);
  ops::check(options, q.size(2), k.size(2));
  return isa_with(a, options, plan_for(a, options), gate);
}

at::Tensor isa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const IsaOptions& options,
               const IsaPlan& plan, const std::optional<at::Tensor>& gate) {
  const Arguments a = ops::checked(q, k, v);
  ops::check(options, q.size(2), k.size(2));
  const IsaGrid grid = grid_of(options, q.size(2));
  const int64_t b = q.size(0), h = q.size(1), blocks = grid.blocks();
  for (const auto& [name, given, dim] : {std::tuple{"context_blocks", plan.context_blocks, 3},
                                         {"sharp_blocks", plan.sharp_blocks, 3},
                                         {"diffuse_blocks", plan.diffuse_blocks, 3},
                                         {"exact_blocks", plan.exact_blocks, 4}})
    GLINT_CHECK(given.dim() == dim, ShapeMismatch, "{}: expected {} dimensions, got {}", name, dim,
                shape_string(given.sizes()));
  const int64_t kept = plan.context_blocks.size(2), sharp = plan.sharp_blocks.size(2);
  const int64_t kept_blocks = grid.kept_key_blocks(kept), exact = plan.exact_blocks.size(3);
  GLINT_CHECK(exact >= 1, ShapeMismatch, "exact_blocks: expected [B,H,diffuse,at least 1], got {}",
              shape_string(plan.exact_blocks.sizes()));
  const IsaPlan checked{
      ops::block_list("context_blocks", plan.context_blocks, {b, h, kept}, grid.context_blocks(), q.device()),
      ops::block_list("sharp_blocks", plan.sharp_blocks, {b, h, sharp}, blocks, q.device()),
      ops::block_list("diffuse_blocks", plan.diffuse_blocks, {b, h, blocks - sharp}, blocks, q.device()),
      ops::block_list("exact_blocks", plan.exact_blocks, {b, h, blocks - sharp, exact}, kept_blocks,
                      q.device())};
  check_partition(plan.sharp_blocks.to(at::kInt), plan.diffuse_blocks.to(at::kInt), blocks);
  return isa_with(a, options, checked, gate);
}

}  // namespace glint
