// Decisions of the authors' kernels and results of the intended formula. tests/data/attention is made by
// tools/golden/attention.py; its manifest states sources and tolerances.
#include <glint/io/safetensors.hpp>

#include "tests/support/attention.hpp"
#include "tests/support/files.hpp"

#include <ATen/ops/equal.h>
#include <nlohmann/json.hpp>

namespace glint {
namespace GLINT_TEST_FILE {

using Json = nlohmann::json;
using test::difference;

struct Case {
  std::string name;
  Json meta;
  TensorMap tensors;
  double tolerance;
  test::Inputs x;
};

Case load(const std::string& name) {
  const Json manifest = Json::parse(test::read_bytes(test::data("attention/MANIFEST.json")));
  Case c{name,
         manifest["cases"][name],
         read_safetensors(test::data("attention/" + name + ".safetensors")),
         0.0,
         {}};
  const std::string type = c.meta["dtype"];
  c.tolerance = manifest["tolerance"][type];
  c.x = test::Inputs{c.tensors["q"], c.tensors["k"], c.tensors["v"]}.to(type == "float32"   ? at::kFloat
                                                                        : type == "float16" ? at::kHalf
                                                                                            : at::kBFloat16);
  return c;
}

PisaOptions options_of(const Case& c) {
  PisaOptions options;
  options.density = c.meta.value("density", 1.0);
  options.block_size = c.meta["block"];
  options.selection = c.meta.value("covariance", false) ? BlockSelection::Covariance : BlockSelection::Mean;
  if (c.meta["op"] == "isa_sparse0") options.order = TaylorOrder::Zeroth;
  return options;
}

TEST_CASE("PISA equals the intended formula, where the released kernel is off by 1.5 as elsewhere", "[ops]") {
  const std::string name = GENERATE(as<std::string>{}, "pisa_01_n256_d64", "pisa_06_n300_d96_b32",
                                    "pisa_10_n640_b16_g32", "pisa_15_n320_d64_fp16", "pisa_16_n509_d64_bf16",
                                    "isa0_03_q192_k509_bf16", "isa0_04_k1280_g16");
  CAPTURE(name);
  const Case c = load(name);
  CHECK(difference(pisa(c.x.q, c.x.k, c.x.v, options_of(c), c.tensors.at("indices")), c.tensors.at("out")) <=
        c.tolerance);
}

TEST_CASE("PISA of orders zeroth and first equals the formula", "[ops]") {
  const Case c = load("pisa_01_n256_d64");
  for (const auto& [order, out] :
       {std::pair{TaylorOrder::Zeroth, "out_zeroth"}, std::pair{TaylorOrder::First, "out_first"}}) {
    PisaOptions options = options_of(c);
    options.order = order;
    CHECK(difference(pisa(c.x.q, c.x.k, c.x.v, options, c.tensors.at("indices")), c.tensors.at(out)) <=
          c.tolerance);
  }
}

TEST_CASE("PISA selects the blocks the authors' kernel selected", "[ops]") {
  const std::string name = GENERATE(as<std::string>{}, "pisa_01_n256_d64", "pisa_06_n300_d96_b32",
                                    "pisa_10_n640_b16_g32", "pisa_15_n320_d64_fp16", "pisa_16_n509_d64_bf16");
  CAPTURE(name);
  const Case c = load(name);
  const at::Tensor theirs = std::get<0>(c.tensors.at("indices").sort(-1));
  CHECK(at::equal(pisa_select(c.x.q, c.x.k, c.x.v, options_of(c)), theirs));
}

TEST_CASE("ISA takes the authors' decisions and equals the formula", "[ops]") {
  const Case c = load("isa_02_s1280_d128_gate");
  IsaOptions options;
  options.main_length = c.meta["t_len"];
  options.density = c.meta["sparsity"];
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
