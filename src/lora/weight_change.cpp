#include "lora/weight_change.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>

namespace glint {
namespace {

/// Returns the factor that stands right of `up`, [r,columns]: down, with the core between them if there is
/// one.
at::Tensor right_factor(const AdapterMatrix& m, const at::TensorOptions& options) {
  const at::Tensor down = m.down.to(options);
  if (!m.core.defined()) return down;
  return at::einsum("ijk,jc->ick", {m.core.to(options).flatten(2), down}).flatten(1);
}

/// Returns rows of the matrix, [count,columns].
at::Tensor rows_of(const AdapterMatrix& m, int64_t first, int64_t count, const at::TensorOptions& options) {
  if (m.whole.defined()) return m.whole.reshape({m.rows(), -1}).narrow(0, first, count).to(options);
  return at::mm(m.up.narrow(0, first, count).to(options), right_factor(m, options));
}

/// Adds scale * kron(first, second) to `rows`, block by block: row i * second.rows() + j of the product is
/// row i of the one times row j of the other.
void add_kronecker(at::Tensor& rows, const WeightChange& change, double scale) {
  const auto options = rows.options();
  const at::Tensor second = rows_of(change.second, 0, change.second.rows(), options);
  const int64_t block = second.size(0), end = change.skipped + rows.size(0);
  const at::Tensor first = rows_of(change.first, 0, change.first.rows(), options);
  for (int64_t at = change.skipped; at < end;) {
    const int64_t i = at / block, j = at % block, count = std::min(block - j, end - at);
    rows.narrow(0, at - change.skipped, count)
        .view({count, first.size(1), second.size(1)})
        .addcmul_(first[i].view({1, -1, 1}), second.narrow(0, j, count).unsqueeze(1), scale);
    at += count;
  }
}

/// Adds the change without its magnitude to the rows that it is for.
void add_update(at::Tensor& rows, const WeightChange& change, double scale) {
  const auto options = rows.options();
  const int64_t count = rows.size(0);
  switch (change.form) {
    case ChangeForm::Sum:
      if (change.first.whole.defined())
        rows.add_(rows_of(change.first, change.skipped, count, options), scale);
      else
        rows.addmm_(change.first.up.narrow(0, change.skipped, count).to(options),
                    right_factor(change.first, options), 1.0, scale);
      break;
    case ChangeForm::Hadamard:
      rows.addcmul_(rows_of(change.first, change.skipped, count, options),
                    rows_of(change.second, change.skipped, count, options), scale);
      break;
    case ChangeForm::Kronecker: add_kronecker(rows, change, scale); break;
    case ChangeForm::Value: rows.copy_(rows_of(change.first, change.skipped, count, options)); break;
  }
}

/// Returns m V / |V| for V [rows,columns]; by rows, or over the kernels of each input channel.
at::Tensor with_magnitude(const at::Tensor& v, const at::Tensor& magnitude, const at::Tensor& weight,
                          int64_t skipped) {
  constexpr double kSmallest = 1e-12;  // a row of zeros stays one
  const at::Tensor m = magnitude.to(v.options());
  if (magnitude.dim() == 1)
    return v * (m.narrow(0, skipped, v.size(0)) / at::linalg_vector_norm(v, 2, {1}).clamp_min(kSmallest))
                   .unsqueeze(1);
  const at::Tensor kernels = v.view({v.size(0), weight.size(1), -1});
  const at::Tensor norms = at::linalg_vector_norm(kernels, 2, {0, 2}, /*keepdim=*/true).clamp_min(kSmallest);
  return (kernels * (m.view({1, -1, 1}) / norms)).view(v.sizes());
}

bool all_zero(const AdapterMatrix& m) {
  if (m.whole.defined()) return !m.whole.to(at::kDouble).any().item<bool>();
  return !m.up.to(at::kDouble).any().item<bool>() || !m.down.to(at::kDouble).any().item<bool>();
}

}  // namespace

int64_t AdapterMatrix::rows() const { return whole.defined() ? whole.size(0) : up.size(0); }

int64_t AdapterMatrix::columns() const {
  if (whole.defined()) return whole.numel() / std::max<int64_t>(whole.size(0), 1);
  return core.defined() ? down.size(1) * (core.numel() / (core.size(0) * core.size(1))) : down.size(1);
}

int64_t WeightChange::rows() const {
  return form == ChangeForm::Kronecker ? first.rows() * second.rows() : first.rows();
}

int64_t WeightChange::columns() const {
  return form == ChangeForm::Kronecker ? first.columns() * second.columns() : first.columns();
}

bool detail::has_effect(const WeightChange& change) {
  if (change.form == ChangeForm::Value || change.magnitude.defined()) return true;
  return change.factor != 0.0 && !all_zero(change.first) &&
         !(change.second.defined() && all_zero(change.second));
}

void detail::add_change(at::Tensor& sum, const at::Tensor& base, const WeightChange& change, double scale) {
  const int64_t count = change.changed < 0 ? change.rows() : change.changed;
  at::Tensor rows = sum.narrow(0, change.row, count);
  if (!change.magnitude.defined() && change.form != ChangeForm::Value)
    return add_update(rows, change, scale * change.factor);
  const at::Tensor own = base.reshape({base.size(0), -1}).narrow(0, change.row, count).to(sum.options());
  at::Tensor made = own.clone();
  add_update(made, change, scale * change.factor);
  if (change.magnitude.defined()) made = with_magnitude(made, change.magnitude, base, change.skipped);
  rows.add_(made.sub_(own));
}

}  // namespace glint
