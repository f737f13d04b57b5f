// The engine by way of the scalar reference.
#include "ops/engine.hpp"

#include "ops/reference.hpp"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

namespace glint::ops {
namespace {

int64_t offset_of(const Rows& x, int64_t b, int64_t h, int64_t t) {
  return b * x.batch_stride + h * x.head_stride + t * x.token_stride;
}

double load(const Rows& x, int64_t at) {
  switch (x.element) {
    case Element::Float32: return static_cast<const float*>(x.data)[at];
    case Element::Float16: return static_cast<const c10::Half*>(x.data)[at];
    case Element::BFloat16: return static_cast<const c10::BFloat16*>(x.data)[at];
  }
  return 0.0;
}

void store(const Rows& x, int64_t at, double value) {
  const auto rounded = static_cast<float>(value);
  switch (x.element) {
    case Element::Float32: static_cast<float*>(x.data)[at] = rounded; break;
    case Element::Float16: static_cast<c10::Half*>(x.data)[at] = rounded; break;
    case Element::BFloat16: static_cast<c10::BFloat16*>(x.data)[at] = rounded; break;
  }
}

reference::Matrix matrix(const Rows& x, int64_t b, int64_t h) {
  reference::Matrix m{x.tokens, x.size};
  for (int64_t t = 0; t < x.tokens; ++t)
    for (int64_t c = 0; c < x.size; ++c) m.row(t)[c] = load(x, offset_of(x, b, h, t) + c);
  return m;
}

void put(const Rows& out, int64_t b, int64_t h, const reference::Matrix& m) {
  for (int64_t t = 0; t < out.tokens; ++t)
    for (int64_t c = 0; c < out.size; ++c) store(out, offset_of(out, b, h, t) + c, m.row(t)[c]);
}

template <typename Function>
void for_each_head(const Operands& o, Function&& function) {
  for (int64_t b = 0; b < o.batch; ++b)
    for (int64_t h = 0; h < o.heads; ++h)
      function(b, h, b * o.heads + h,
               reference::Head{matrix(o.q, b, h), matrix(o.k, b, h), matrix(o.v, b, h)});
}

std::vector<int32_t> list(const BlockList& from, int64_t row) {
  return {from.blocks + row * from.count, from.blocks + (row + 1) * from.count};
}

}  // namespace

void pisa_select(const Operands& operands, const PisaOptions& options, BlockList selected) {
  int32_t* to = selected.blocks;
  for_each_head(operands, [&](int64_t, int64_t, int64_t, const reference::Head& head) {
    for (const std::vector<int32_t>& row : reference::pisa_select(head, options))
      to = std::copy(row.begin(), row.end(), to);
  });
}

void pisa(const Operands& operands, const PisaOptions& options, BlockList selected) {
  const int64_t blocks = Grid{operands.q.tokens, options.block_size}.blocks();
  for_each_head(operands, [&](int64_t b, int64_t h, int64_t i, const reference::Head& head) {
    reference::Blocks rows;
    for (int64_t r = 0; selected.blocks && r < blocks; ++r) rows.push_back(list(selected, i * blocks + r));
    put(operands.out, b, h,
        reference::pisa(head, options, selected.blocks ? rows : reference::pisa_select(head, options)));
  });
}

void isa_plan(const Operands& operands, const IsaOptions& options, const PlanLists& plan) {
  for_each_head(operands, [&](int64_t, int64_t, int64_t i, const reference::Head& head) {
    const reference::Plan p = reference::isa_plan(head, options);
    std::copy(p.context.begin(), p.context.end(), plan.context.blocks + i * plan.context.count);
    std::copy(p.sharp.begin(), p.sharp.end(), plan.sharp.blocks + i * plan.sharp.count);
    std::copy(p.diffuse.begin(), p.diffuse.end(), plan.diffuse.blocks + i * plan.diffuse.count);
    int32_t* to = plan.exact.blocks + i * plan.diffuse.count * plan.exact.count;
    for (const std::vector<int32_t>& row : p.exact) to = std::copy(row.begin(), row.end(), to);
  });
}

void isa(const Operands& operands, const IsaOptions& options, const PlanLists& plan, const Gate& gate) {
  for_each_head(operands, [&](int64_t b, int64_t h, int64_t i, const reference::Head& head) {
    reference::Plan p{list(plan.context, i), list(plan.sharp, i), list(plan.diffuse, i), {}};
    for (int64_t r = 0; r < plan.diffuse.count; ++r)
      p.exact.push_back(list(plan.exact, i * plan.diffuse.count + r));
    std::vector<double> gates;
    for (int64_t t = 0; gate.data && t < operands.q.tokens; ++t)
      gates.push_back(gate.data[b * gate.batch_stride + h * gate.head_stride + t * gate.token_stride]);
    put(operands.out, b, h, reference::isa(head, options, p, gates));
  });
}

}  // namespace glint::ops
