// The recorded attention cases. tests/data/attention is made by tools/golden/attention.py; its manifest
// states sources and tolerances.
#pragma once

#include <glint/io/safetensors.hpp>

#include "tests/support/attention.hpp"
#include "tests/support/files.hpp"

#include <nlohmann/json.hpp>

namespace glint::test {

struct AttentionCase {
  std::string name;
  nlohmann::json meta;
  TensorMap tensors;
  double tolerance;
  Inputs x;
};

inline nlohmann::json attention_manifest() {
  return nlohmann::json::parse(read_bytes(data("attention/MANIFEST.json")));
}

inline at::ScalarType scalar_type(const std::string& name) {
  return name == "float32" ? at::kFloat : name == "float16" ? at::kHalf : at::kBFloat16;
}

/// Reads a case. Its inputs get the type `as`, if one is given, and the tolerance is that type's.
inline AttentionCase attention_case(const std::string& name, const std::string& as = "") {
  const nlohmann::json manifest = attention_manifest();
  AttentionCase c{
      name, manifest["cases"][name], read_safetensors(data("attention/" + name + ".safetensors")), 0.0, {}};
  const std::string type = as.empty() ? c.meta["dtype"].get<std::string>() : as;
  c.tolerance = manifest["tolerance"][type];
  c.x = Inputs{c.tensors["q"], c.tensors["k"], c.tensors["v"]}.to(scalar_type(type));
  return c;
}

inline PisaOptions pisa_options(const AttentionCase& c) {
  PisaOptions options;
  options.density = c.meta.value("density", 1.0);
  options.block_size = c.meta["block"];
  options.selection = c.meta.value("covariance", false) ? BlockSelection::Covariance : BlockSelection::Mean;
  if (c.meta["op"] == "isa_sparse0") options.order = TaylorOrder::Zeroth;
  return options;
}

inline IsaOptions isa_options(const AttentionCase& c) {
  IsaOptions options;
  options.main_length = c.meta["t_len"];
  options.density = c.meta["sparsity"];
  return options;
}

}  // namespace glint::test
