#include "ops/arguments.hpp"

#include <glint/core/error.hpp>
#include <glint/core/tensor.hpp>

#include "ops/cuda/backend.hpp"

#include <cmath>

namespace glint::ops {
namespace {

constexpr const char* kDevices =
    cuda::kBuilt ? "the CPU or a CUDA device" : "the CPU (this build has no CUDA kernels)";

Element element_of(const char* name, at::ScalarType type) {
  switch (type) {
    case at::kFloat: return Element::Float32;
    case at::kHalf: return Element::Float16;
    case at::kBFloat16: return Element::BFloat16;
    default:
      fail(ErrorCode::UnsupportedDtype, "{}: expected float32, float16 or bfloat16, got {}", name,
           toString(type));
  }
}

Rows rows_of(const char* name, const at::Tensor& x) {
  return {x.data_ptr(), element_of(name, x.scalar_type()), x.stride(0), x.stride(1), x.stride(2), x.size(2),
          x.size(3)};
}

void check_like(const char* name, const at::Tensor& x, const at::Tensor& q) {
  GLINT_CHECK(x.dim() == 4, ShapeMismatch, "{}: expected [B,H,N,D], got {}", name, shape_string(x.sizes()));
  GLINT_CHECK(has_kernels(x.device()), UnsupportedDevice, "{}: expected a tensor on {}, got {}", name,
              kDevices, x.device().str());
  GLINT_CHECK(x.device() == q.device(), UnsupportedDevice, "{}: expected the device of q, {}, got {}", name,
              q.device().str(), x.device().str());
  element_of(name, x.scalar_type());
  GLINT_CHECK(x.scalar_type() == q.scalar_type(), UnsupportedDtype, "{}: expected the dtype of q, {}, got {}",
              name, toString(q.scalar_type()), toString(x.scalar_type()));
  GLINT_CHECK(x.size(0) == q.size(0) && x.size(1) == q.size(1), ShapeMismatch,
              "{}: expected batch and heads of q, [{},{},N,D], got {}", name, q.size(0), q.size(1),
              shape_string(x.sizes()));
  GLINT_CHECK(x.size(2) >= 1, ShapeMismatch, "{}: expected at least one token, got {}", name,
              shape_string(x.sizes()));
  GLINT_CHECK(x.size(3) >= 1 && x.size(3) <= kMaxHeadSize, ShapeMismatch,
              "{}: expected a head size in [1,{}], got {}", name, kMaxHeadSize, x.size(3));
}

at::Tensor with_contiguous_rows(const at::Tensor& x) {
  return x.stride(3) == 1 || x.size(3) == 1 ? x : x.contiguous();
}

void check_share(const char* name, double share) {
  GLINT_CHECK(share >= 0.0 && share <= 1.0, InvalidArgument, "{}: expected a number in [0,1], got {}", name,
              share);
}

void check_scale(const std::optional<double>& scale) {
  GLINT_CHECK(!scale || std::isfinite(*scale), InvalidArgument, "scale: expected a finite number, got {}",
              *scale);
}

}  // namespace

bool has_kernels(const at::Device& device) { return device.is_cpu() || (cuda::kBuilt && device.is_cuda()); }

Arguments checked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  check_like("q", q, q);
  check_like("k", k, q);
  check_like("v", v, q);
  GLINT_CHECK(k.size(3) == q.size(3), ShapeMismatch, "k: expected the head size of q, {}, got {}", q.size(3),
              k.size(3));
  GLINT_CHECK(v.size(2) == k.size(2), ShapeMismatch, "v: expected as many tokens as k, {}, got {}", k.size(2),
              v.size(2));
  Arguments a{with_contiguous_rows(q),
              with_contiguous_rows(k),
              with_contiguous_rows(v),
              at::empty({q.size(0), q.size(2), q.size(1), v.size(3)}, q.options()).transpose(1, 2),
              {}};
  a.operands = {q.size(0),         q.size(1),         rows_of("q", a.q),
                rows_of("k", a.k), rows_of("v", a.v), rows_of("out", a.out)};
  return a;
}

void check(const PisaOptions& options, int64_t keys) {
  check_share("density", options.density);
  check_scale(options.scale);
  GLINT_CHECK(options.block_size >= 1 && options.block_size <= kMaxBlockSize, InvalidArgument,
              "block_size: expected 1 to {}, got {}", kMaxBlockSize, options.block_size);
  const int64_t blocks = Grid{keys, options.block_size}.blocks();
  std::vector<int64_t> forced = options.forced_blocks;
  for (int64_t& j : forced) {
    GLINT_CHECK(j >= -blocks && j < blocks, InvalidArgument,
                "forced_blocks: expected numbers in [{},{}], got {}", -blocks, blocks - 1, j);
    j = j < 0 ? j + blocks : j;
  }
  std::sort(forced.begin(), forced.end());
  const int64_t distinct = std::unique(forced.begin(), forced.end()) - forced.begin();
  GLINT_CHECK(distinct <= budget(options.density, blocks), InvalidArgument,
              "forced_blocks: expected at most {} (density {} of {} blocks), got {}",
              budget(options.density, blocks), options.density, blocks, distinct);
}

void check(const IsaOptions& options, int64_t queries, int64_t keys) {
  GLINT_CHECK(queries == keys, ShapeMismatch, "k: expected as many tokens as q, {}, got {}", queries, keys);
  GLINT_CHECK(options.main_length >= 1 && options.main_length <= queries, InvalidArgument,
              "main_length: expected 1 to {}, got {}", queries, options.main_length);
  check_share("density", options.density);
  check_share("context_keep", options.context_keep);
  check_share("sharp_share", options.sharp_share);
  check_scale(options.scale);
}

at::Tensor block_list(const char* name, const at::Tensor& blocks, at::IntArrayRef shape, int64_t limit,
                      const at::Device& device) {
  GLINT_CHECK(at::isIntegralType(blocks.scalar_type(), false), UnsupportedDtype,
              "{}: expected integers, got {}", name, toString(blocks.scalar_type()));
  GLINT_CHECK(blocks.sizes() == shape, ShapeMismatch, "{}: expected {}, got {}", name, shape_string(shape),
              shape_string(blocks.sizes()));
  GLINT_CHECK(blocks.device().is_cpu() || blocks.device() == device, UnsupportedDevice,
              "{}: expected a tensor on the CPU or on q's device, {}, got {}", name, device.str(),
              blocks.device().str());
  if (!blocks.device().is_cpu()) return blocks.to(at::kInt).contiguous();
  at::Tensor wide = blocks.to(at::kLong).contiguous();
  for (int64_t row = 0, count = shape.back(); row < (count ? wide.numel() / count : 0); ++row) {
    std::vector<int64_t> sorted(wide.data_ptr<int64_t>() + row * count,
                                wide.data_ptr<int64_t>() + (row + 1) * count);
    std::sort(sorted.begin(), sorted.end());
    GLINT_CHECK(sorted.front() >= 0 && sorted.back() < limit, InvalidArgument,
                "{}: expected block numbers in [0,{}], got {}", name, limit - 1,
                sorted.front() < 0 ? sorted.front() : sorted.back());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    GLINT_CHECK(twice == sorted.end(), InvalidArgument,
                "{}: expected different blocks in a list, got {} twice", name, *twice);
  }
  return wide.to(device, at::kInt);
}

at::Tensor checked_gate(const at::Tensor& gate, const Operands& o, const at::Device& device) {
  const bool shared = gate.dim() == 2;
  const std::vector<int64_t> expected =
      shared ? std::vector<int64_t>{o.batch, o.q.tokens} : std::vector<int64_t>{o.batch, o.heads, o.q.tokens};
  GLINT_CHECK(gate.sizes() == at::IntArrayRef(expected), ShapeMismatch,
              "gate: expected [{},{}] or [{},{},{}], got {}", o.batch, o.q.tokens, o.batch, o.heads,
              o.q.tokens, shape_string(gate.sizes()));
  GLINT_CHECK(at::isFloatingType(gate.scalar_type()), UnsupportedDtype,
              "gate: expected floating point, got {}", toString(gate.scalar_type()));
  const at::Tensor wide = gate.to(device, at::kFloat);
  return shared ? wide.unsqueeze(1).expand({o.batch, o.heads, o.q.tokens}) : wide;
}

TaylorOrder parse_order(std::string_view order) {
  if (order == "zeroth") return TaylorOrder::Zeroth;
  if (order == "hybrid") return TaylorOrder::Hybrid;
  if (order == "first") return TaylorOrder::First;
  fail(ErrorCode::InvalidArgument, "order: expected zeroth, hybrid or first, got '{}'", order);
}

BlockSelection parse_selection(std::string_view selection) {
  if (selection == "mean") return BlockSelection::Mean;
  if (selection == "covariance") return BlockSelection::Covariance;
  if (selection == "variance") return BlockSelection::Variance;
  fail(ErrorCode::InvalidArgument, "selection: expected mean, covariance or variance, got '{}'", selection);
}

}  // namespace glint::ops
