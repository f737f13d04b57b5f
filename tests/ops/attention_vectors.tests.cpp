// Decisions of the authors' kernels and results of the intended formula.
#include "tests/support/attention_cases.hpp"

#include <ATen/ops/equal.h>

namespace glint {
namespace GLINT_TEST_FILE {

using test::difference;
using Case = test::AttentionCase;

TEST_CASE("PISA equals the intended formula, where the released kernel is off by 1.5 as elsewhere", "[ops]") {
  const std::string name = GENERATE(as<std::string>{}, "pisa_01_n256_d64", "pisa_06_n300_d96_b32",
                                    "pisa_10_n640_b16_g32", "pisa_15_n320_d64_fp16", "pisa_16_n509_d64_bf16",
                                    "isa0_03_q192_k509_bf16", "isa0_04_k1280_g16");
  CAPTURE(name);
  const Case c = test::attention_case(name);
  CHECK(difference(pisa(c.x.q, c.x.k, c.x.v, test::pisa_options(c), c.tensors.at("indices")),
                   c.tensors.at("out")) <= c.tolerance);
}

TEST_CASE("PISA of orders zeroth and first equals the formula", "[ops]") {
  const Case c = test::attention_case("pisa_01_n256_d64");
  for (const auto& [order, out] :
       {std::pair{TaylorOrder::Zeroth, "out_zeroth"}, std::pair{TaylorOrder::First, "out_first"}}) {
    PisaOptions options = test::pisa_options(c);
    options.order = order;
    CHECK(difference(pisa(c.x.q, c.x.k, c.x.v, options, c.tensors.at("indices")), c.tensors.at(out)) <=
          c.tolerance);
  }
}

TEST_CASE("PISA selects the blocks the authors' kernel selected", "[ops]") {
  const std::string name = GENERATE(as<std::string>{}, "pisa_01_n256_d64", "pisa_06_n300_d96_b32",
                                    "pisa_10_n640_b16_g32", "pisa_15_n320_d64_fp16", "pisa_16_n509_d64_bf16");
  CAPTURE(name);
  const Case c = test::attention_case(name);
  const at::Tensor theirs = std::get<0>(c.tensors.at("indices").sort(-1));
  CHECK(at::equal(pisa_select(c.x.q, c.x.k, c.x.v, test::pisa_options(c)), theirs));
}

TEST_CASE("ISA takes the authors' decisions and equals the formula", "[ops]") {
  const Case c = test::attention_case("isa_02_s1280_d128_gate");
  const IsaOptions options = test::isa_options(c);
  const IsaPlan plan = isa_plan(c.x.q, c.x.k, options);
  CHECK(at::equal(plan.context_blocks, c.tensors.at("context_blocks")));
  CHECK(at::equal(plan.sharp_blocks, c.tensors.at("sharp_blocks")));
  CHECK(at::equal(plan.diffuse_blocks, c.tensors.at("diffuse_blocks")));
  CHECK(at::equal(plan.exact_blocks, c.tensors.at("exact_blocks")));
  const at::Tensor gate = c.tensors.at("gate");
  CHECK(difference(isa(c.x.q, c.x.k, c.x.v, options, gate), c.tensors.at("out")) <= c.tolerance);
  CHECK(difference(isa(c.x.q, c.x.k, c.x.v, options, plan, gate), c.tensors.at("out")) <= c.tolerance);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
