// The operators on a CUDA device: the recorded cases and the CPU's results. Without a device, or in a build
// without CUDA kernels, every case says so and passes.
#include "tests/support/attention_cases.hpp"

#include <ATen/Context.h>
#include <ATen/ops/equal.h>

namespace glint {
namespace GLINT_TEST_FILE {

using test::AttentionCase;
using test::difference;
using test::Inputs;

bool on_gpu() {
  if (at::hasCUDA()) return true;
  WARN("skipped: no CUDA device");
  return false;
}

Inputs on_device(const Inputs& x) {
  const at::Device gpu(at::kCUDA, 0);
  return {x.q.to(gpu), x.k.to(gpu), x.v.to(gpu)};
}

/// As for the emulated kernels: a few roundings of the type.
double allowed(at::ScalarType type) { return type == at::kFloat ? 2e-6 : type == at::kHalf ? 2e-3 : 1.6e-2; }

TEST_CASE("PISA on a GPU equals every recorded case", "[gpu]") {
  if (!on_gpu()) return;
  const std::string name = GENERATE(as<std::string>{}, "pisa_01_n256_d64", "pisa_06_n300_d96_b32",
                                    "pisa_10_n640_b16_g32", "pisa_15_n320_d64_fp16", "pisa_16_n509_d64_bf16",
                                    "isa0_03_q192_k509_bf16", "isa0_04_k1280_g16");
  CAPTURE(name);
  const AttentionCase c = test::attention_case(name);
  const Inputs x = on_device(c.x);
  const at::Tensor out = pisa(x.q, x.k, x.v, test::pisa_options(c), c.tensors.at("indices"));
  CHECK(out.is_cuda());
  CHECK(difference(out.cpu(), c.tensors.at("out")) <= c.tolerance);
  if (c.meta["op"] == "pisa")
    CHECK(at::equal(pisa_select(x.q, x.k, x.v, test::pisa_options(c)).cpu(),
                    std::get<0>(c.tensors.at("indices").sort(-1))));
}

TEST_CASE("ISA on a GPU takes the authors' decisions and equals the formula", "[gpu]") {
  if (!on_gpu()) return;
  const std::string type = GENERATE("float32", "float16");
  const AttentionCase c = test::attention_case("isa_02_s1280_d128_gate", type);
  const Inputs x = on_device(c.x);
  const IsaOptions options = test::isa_options(c);
  const IsaPlan plan = isa_plan(x.q, x.k, options);
  CHECK(at::equal(plan.context_blocks.cpu(), c.tensors.at("context_blocks")));
  CHECK(at::equal(plan.sharp_blocks.cpu(), c.tensors.at("sharp_blocks")));
  CHECK(at::equal(plan.diffuse_blocks.cpu(), c.tensors.at("diffuse_blocks")));
  CHECK(at::equal(plan.exact_blocks.cpu(), c.tensors.at("exact_blocks")));
  const at::Tensor gate = c.tensors.at("gate").to(x.q.device());
  CHECK(difference(isa(x.q, x.k, x.v, options, gate).cpu(), c.tensors.at("out")) <= c.tolerance);
  CHECK(difference(isa(x.q, x.k, x.v, options, plan, gate).cpu(), c.tensors.at("out")) <= c.tolerance);
}

TEST_CASE("PISA on a GPU equals the CPU's at odd sizes, of every type and order", "[gpu]") {
  if (!on_gpu()) return;
  struct Size {
    int64_t n, m, d, e, block;
  };
  const auto s =
      GENERATE(Size{1, 1, 8, 8, 64}, Size{63, 65, 64, 64, 64}, Size{130, 200, 40, 24, 64},
               Size{129, 4000, 128, 96, 64}, Size{70, 90, 33, 130, 17}, Size{520, 520, 256, 80, 256});
  const auto type = GENERATE(at::kFloat, at::kHalf, at::kBFloat16);
  const auto order = GENERATE(TaylorOrder::Zeroth, TaylorOrder::Hybrid, TaylorOrder::First);
  CAPTURE(s.n, s.m, s.d, s.e, s.block, at::toString(type), static_cast<int>(order));
  const Inputs x = test::inputs(1, s.n, s.m, s.d, s.e).to(type), there = on_device(x);
  PisaOptions options;
  options.density = 0.4;
  options.block_size = s.block;
  options.order = order;
  const at::Tensor selected = pisa_select(x.q, x.k, x.v, options);
  CHECK(difference(pisa(there.q, there.k, there.v, options, selected).cpu(),
                   pisa(x.q, x.k, x.v, options, selected)) < allowed(type));
  options.density = 1.0;
  CHECK(difference(pisa(there.q, there.k, there.v, options).cpu(), test::sdpa(x.to(at::kDouble))) <
        allowed(type));
}

TEST_CASE("A call on a GPU gives the same bits twice", "[gpu]") {
  if (!on_gpu()) return;
  const Inputs x = on_device(test::inputs(6, 3000, 3000, 128, 128, 4).to(at::kBFloat16));
  CHECK(at::equal(pisa(x.q, x.k, x.v), pisa(x.q, x.k, x.v)));
}

TEST_CASE("Operands on different devices are an error that names them", "[gpu]") {
  if (!on_gpu()) return;
  const Inputs x = test::inputs(2, 64, 64), there = on_device(x);
  CHECK_THROWS_WITH(pisa(there.q, x.k, x.v),
                    Catch::Matchers::Contains("k: expected the device of q, cuda:0, got cpu"));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
