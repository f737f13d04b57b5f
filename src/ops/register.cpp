// The operators' public schemas and registration. Meta functions make them exportable and compilable.
#include <glint/ops/sparse_attention.hpp>

#include "ops/arguments.hpp"
#include "ops/attention.hpp"

#include <ATen/ops/empty.h>
#include <torch/library.h>

namespace glint::ops {
namespace {

using OptionalTensor = std::optional<at::Tensor>;
using Plan = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

PisaOptions pisa_options(double density, int64_t block_size, std::string_view order,
                         std::string_view selection, std::optional<double> scale,
                         const at::OptionalIntArrayRef& forced) {
  return {density,
          block_size,
          parse_order(order),
          parse_selection(selection),
          scale,
          forced ? forced->vec() : std::vector<int64_t>{}};
}

at::Tensor pisa_op(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double density,
                   int64_t block_size, std::string_view order, std::string_view selection,
                   std::optional<double> scale, const OptionalTensor& block_indices,
                   at::OptionalIntArrayRef forced_blocks) {
  return glint::pisa(q, k, v, pisa_options(density, block_size, order, selection, scale, forced_blocks),
                     block_indices);
}

at::Tensor pisa_select_op(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double density,
                          int64_t block_size, std::string_view order, std::string_view selection,
                          std::optional<double> scale, at::OptionalIntArrayRef forced_blocks) {
  return glint::pisa_select(q, k, v,
                            pisa_options(density, block_size, order, selection, scale, forced_blocks));
}

at::Tensor isa_op(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t main_length,
                  double density, double context_keep, double sharp_share, const OptionalTensor& gate,
                  std::optional<double> scale, bool padded_tail) {
  return glint::isa(q, k, v, {main_length, density, context_keep, sharp_share, scale, padded_tail}, gate);
}

Plan isa_plan_op(const at::Tensor& q, const at::Tensor& k, const at::Tensor&, int64_t main_length,
                 double density, double context_keep, double sharp_share, std::optional<double> scale,
                 bool padded_tail) {
  IsaPlan plan = glint::isa_plan(q, k, {main_length, density, context_keep, sharp_share, scale, padded_tail});
  return {plan.context_blocks, plan.sharp_blocks, plan.diffuse_blocks, plan.exact_blocks};
}

at::Tensor isa_planned_op(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t main_length,
                          const at::Tensor& context_blocks, const at::Tensor& sharp_blocks,
                          const at::Tensor& diffuse_blocks, const at::Tensor& exact_blocks,
                          const OptionalTensor& gate, std::optional<double> scale, bool padded_tail) {
  const IsaOptions options{.main_length = main_length, .scale = scale, .padded_tail = padded_tail};
  return glint::isa(q, k, v, options, IsaPlan{context_blocks, sharp_blocks, diffuse_blocks, exact_blocks},
                    gate);
}

// --- Shapes alone. Token counts may be symbols; numbers of blocks depend on them through a product with a
// share, so they are specialized.
// ------------------------------------------------------------------------------------------------

at::Tensor attention_shape(const at::Tensor& q, const at::Tensor& v) {
  if (q.dim() != 4)
    return at::empty_symint(
        [&] {
          c10::SymDimVector sizes(q.sym_sizes().begin(), q.sym_sizes().end());
          sizes.back() = v.sym_size(-1);
          return sizes;
        }(),
        q.options());
  return at::empty_symint({q.sym_size(0), q.sym_size(2), q.sym_size(1), v.sym_size(3)}, q.options())
      .transpose(1, 2);
}

at::Tensor pisa_meta(const at::Tensor& q, const at::Tensor&, const at::Tensor& v, double, int64_t,
                     std::string_view, std::string_view, std::optional<double>, const OptionalTensor&,
                     at::OptionalIntArrayRef) {
  return attention_shape(q, v);
}

at::Tensor pisa_select_meta(const at::Tensor& q, const at::Tensor& k, const at::Tensor&, double density,
                            int64_t block_size, std::string_view, std::string_view, std::optional<double>,
                            at::OptionalIntArrayRef) {
  const int64_t keys = k.sym_size(2).guard_int(__FILE__, __LINE__);
  const c10::SymInt rows = (q.sym_size(2) + (block_size - 1)) / block_size;
  return at::empty_symint({q.sym_size(0), q.sym_size(1), rows, budget(density, ceil_div(keys, block_size))},
                          q.options().dtype(at::kInt));
}

at::Tensor isa_meta(const at::Tensor& q, const at::Tensor&, const at::Tensor& v, int64_t, double, double,
                    double, const OptionalTensor&, std::optional<double>, bool) {
  return attention_shape(q, v);
}

Plan isa_plan_meta(const at::Tensor& q, const at::Tensor&, const at::Tensor&, int64_t main_length,
                   double density, double context_keep, double sharp_share, std::optional<double>,
                   bool padded_tail) {
  const IsaGrid grid{main_length, q.sym_size(2).guard_int(__FILE__, __LINE__), padded_tail};
  const int64_t kept = grid.kept(context_keep), sharp = grid.sharp(sharp_share),
                diffuse = grid.blocks() - sharp;
  const auto blocks = [&](int64_t count) {
    return at::empty_symint({q.sym_size(0), q.sym_size(1), count}, q.options().dtype(at::kInt));
  };
  at::Tensor exact = at::empty_symint({q.sym_size(0), q.sym_size(1), diffuse, grid.exact(density, kept)},
                                      q.options().dtype(at::kInt));
  return {blocks(kept), blocks(sharp), blocks(diffuse), std::move(exact)};
}

at::Tensor isa_planned_meta(const at::Tensor& q, const at::Tensor&, const at::Tensor& v, int64_t,
                            const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                            const OptionalTensor&, std::optional<double>, bool) {
  return attention_shape(q, v);
}

at::Tensor attention_meta(const at::Tensor& query, const at::Tensor&, const at::Tensor& value,
                          const OptionalTensor&, double, bool, std::optional<double>, bool, int64_t) {
  return attention_shape(query, value);
}

}  // namespace

TORCH_LIBRARY(glint, m) {
  m.def(
      "pisa(Tensor q, Tensor k, Tensor v, float density=0.15, int block_size=64, str order=\"hybrid\", "
      "str selection=\"covariance\", float? scale=None, Tensor? block_indices=None, int[]? "
      "forced_blocks=None) -> Tensor");
  m.def(
      "pisa_select(Tensor q, Tensor k, Tensor v, float density=0.15, int block_size=64, str "
      "order=\"hybrid\", "
      "str selection=\"covariance\", float? scale=None, int[]? forced_blocks=None) -> Tensor");
  m.def(
      "isa(Tensor q, Tensor k, Tensor v, int main_length, float density=0.0625, float context_keep=0.125, "
      "float sharp_share=0.5, Tensor? gate=None, float? scale=None, bool padded_tail=False) -> Tensor");
  m.def(
      "isa_plan(Tensor q, Tensor k, Tensor v, int main_length, float density=0.0625, float "
      "context_keep=0.125, "
      "float sharp_share=0.5, float? scale=None, bool padded_tail=False) -> "
      "(Tensor context_blocks, Tensor sharp_blocks, Tensor diffuse_blocks, Tensor exact_blocks)");
  m.def(
      "isa.planned(Tensor q, Tensor k, Tensor v, int main_length, Tensor context_blocks, Tensor "
      "sharp_blocks, "
      "Tensor diffuse_blocks, Tensor exact_blocks, Tensor? gate=None, float? scale=None, bool "
      "padded_tail=False) -> Tensor");
  m.def(
      "attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0.0, "
      "bool is_causal=False, *, float? scale=None, bool enable_gqa=False, int layer=0) -> Tensor");
}

void implement(torch::Library& m) {
  m.impl("pisa", pisa_op);
  m.impl("pisa_select", pisa_select_op);
  m.impl("isa", isa_op);
  m.impl("isa_plan", isa_plan_op);
  m.impl("isa.planned", isa_planned_op);
}

TORCH_LIBRARY_IMPL(glint, CPU, m) { implement(m); }
#ifdef GLINT_WITH_CUDA
TORCH_LIBRARY_IMPL(glint, CUDA, m) { implement(m); }
#endif

TORCH_LIBRARY_IMPL(glint, Meta, m) {
  m.impl("pisa", pisa_meta);
  m.impl("pisa_select", pisa_select_meta);
  m.impl("isa", isa_meta);
  m.impl("isa_plan", isa_plan_meta);
  m.impl("isa.planned", isa_planned_meta);
  m.impl("attention", attention_meta);
}

TORCH_LIBRARY_IMPL(glint, CompositeExplicitAutograd, m) { m.impl("attention", attention); }
TORCH_LIBRARY_IMPL(glint, Autograd, m) { m.impl("attention", attention_with_gradient); }

}  // namespace glint::ops
