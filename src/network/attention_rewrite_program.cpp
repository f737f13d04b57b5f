// Attention rewrite for torch.export: replaces targets in the stored graph. Its format is defined by torch's
// schema.py (torch/_export/serde): a graph is {"nodes": [{"target", "inputs": [{"name", "arg", "kind"}],
// ...}], ...}, and arguments may be graphs themselves.
#include "io/json.hpp"

#include <glint/core/error.hpp>
#include <glint/network/attention_rewrite.hpp>

namespace glint {
namespace {

using Json = nlohmann::json;

constexpr const char* kAtenAttention = "torch.ops.aten.scaled_dot_product_attention.default";
constexpr const char* kOurAttention = "torch.ops.glint.attention.default";
constexpr int kKeywordArgument = 2;  // ArgumentKind.KEYWORD

/// Rewrites a graph's attention nodes and numbers them in order, descending into graphs in arguments
/// (branches, loop bodies).
void rewrite(Json& graph, int64_t& layers) {
  for (Json& node : graph.at("nodes")) {
    Json& inputs = node.at("inputs");
    if (node.at("target") == kAtenAttention) {
      node["target"] = kOurAttention;
      inputs.push_back({{"name", "layer"}, {"arg", {{"as_int", layers++}}}, {"kind", kKeywordArgument}});
      continue;
    }
    for (Json& input : inputs)
      if (Json& value = input.at("arg"); value.contains("as_graph"))
        rewrite(value["as_graph"].at("graph"), layers);
  }
}

}  // namespace

RewrittenProgram rewrite_attention(const std::string& program, const std::string& where) {
  Json document = detail::parse_json(program, where);
  RewrittenProgram result;
  try {
    rewrite(document.at("graph_module").at("graph"), result.layers);
  } catch (const Json::exception& error) {
    fail(ErrorCode::BadModel, "{}: expected the graph of an exported program: {}", where, error.what());
  }
  result.json = document.dump();
  return result;
}

}  // namespace glint
