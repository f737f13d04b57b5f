#include "network/text_part.hpp"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <algorithm>
#include <memory>
#include <set>
#include <unordered_map>

namespace glint::detail {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

const c10::Symbol kAttention = c10::Symbol::fromQualString("glint::attention");

/// What a value is computed from: nothing that varies, the tokens alone, or anything else.
enum class Origin { Constant, Tokens, Other };

/// The origins of a graph's values, found node by node in the order they run. Sizes are those of the batch
/// and count as constant. Views share the origin of what they show, since either may be written to.
class Origins {
 public:
  /// Of the graph's inputs the module is the first, and weights follow the last of `inputs`.
  Origins(const Graph& graph, size_t tokens, size_t inputs) {
    for (size_t i = 1; i <= inputs && i < graph.inputs().size(); ++i)
      origins_[graph.inputs()[i]] = i == tokens + 1 ? Origin::Tokens : Origin::Other;
  }

  Origin of(const Value* value) const {
    const auto found = origins_.find(shown_by(value));
    return found == origins_.end() ? Origin::Constant : found->second;
  }

  void add(const Node& node) {
    static const std::set<c10::Symbol> sizes{c10::aten::size, c10::aten::dim, c10::aten::len,
                                             c10::prim::dtype, c10::prim::device};
    if (sizes.contains(node.kind())) return;
    Origin all = node.blocks().empty() ? Origin::Constant : Origin::Other;
    for (const Value* input : node.inputs()) all = (std::max)(all, of(input));
    for (const Value* output : node.outputs()) {
      if (shows_first_input(node)) shown_[output] = shown_by(node.input(0));
      Origin& origin = origins_[shown_by(output)];
      origin = (std::max)(origin, all);
    }
  }

 private:
  /// Whether the result is a view of the first input, or that input, written to.
  static bool shows_first_input(const Node& node) {
    const c10::FunctionSchema* schema = node.maybeSchema();
    return schema && !node.inputs().empty() && !schema->returns().empty() &&
           schema->returns().front().alias_info();
  }

  const Value* shown_by(const Value* value) const {
    const auto found = shown_.find(value);
    return found == shown_.end() ? value : found->second;
  }

  std::unordered_map<const Value*, Origin> origins_;
  std::unordered_map<const Value*, const Value*> shown_;  // what views show
};

bool is_none(const Value* value) {
  const auto constant = torch::jit::toIValue(value);
  return constant && constant->isNone();
}

bool has_attention(const Block& block) {
  for (const Node* node : block.nodes()) {
    if (node->kind() == kAttention) return true;
    for (const Block* inner : node->blocks())
      if (has_attention(*inner)) return true;
  }
  return false;
}

/// The attention nodes whose keys and values come from the tokens alone.
std::vector<Node*> text_nodes(Graph& graph, size_t tokens, size_t inputs) {
  Origins origins(graph, tokens, inputs);
  std::vector<Node*> nodes;
  for (Node* node : graph.block()->nodes()) {
    for (const Block* inner : node->blocks())
      if (has_attention(*inner)) return {};
    if (node->kind() == kAttention && origins.of(node->namedInput("key")) == Origin::Tokens &&
        origins.of(node->namedInput("value")) == Origin::Tokens) {
      if (!is_none(node->namedInput("attn_mask"))) return {};
      nodes.push_back(node);
    }
    origins.add(*node);
  }
  return nodes;
}

}  // namespace

bool has_text_part(const torch::jit::Module& module, size_t tokens, size_t inputs) {
  return !text_nodes(*module.get_method("forward").graph(), tokens, inputs).empty();
}

std::vector<int64_t> keep_text_part(torch::jit::Module& module, size_t tokens, size_t inputs) {
  const std::shared_ptr<Graph> graph = module.get_method("forward").graph();
  std::vector<int64_t> layers;
  std::vector<Value*> values;
  for (Node* node : text_nodes(*graph, tokens, inputs)) {
    layers.push_back(torch::jit::toIValue(node->namedInput("layer"))->toInt());
    for (const char* name : {"key", "value"}) values.push_back(node->namedInput(name));
  }
  Node* tuple = graph->createTuple(values);
  graph->block()->appendNode(tuple);
  graph->eraseOutput(0);
  graph->registerOutput(tuple->output());
  torch::jit::EliminateDeadCode(graph);
  return layers;
}

}  // namespace glint::detail
