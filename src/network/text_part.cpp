#include "network/text_part.hpp"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <map>
#include <memory>
#include <set>

namespace glint::detail {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

const c10::Symbol kAttention = c10::Symbol::fromQualString("glint::attention");

/// Finds which of a graph's inputs a value is computed from. Sizes do not count: they are those of the batch.
class Origins {
 public:
  /// The first input is the module.
  Origins(const Graph& graph, size_t inputs) {
    for (size_t i = 0; i < graph.inputs().size(); ++i)
      known_[graph.inputs()[i]] = i == 0 || i > inputs ? Set{} : Set{i - 1};
  }

  /// Whether `value` depends on input number `input` and no other.
  bool only(const Value* value, size_t input) {
    const Set& found = of(value);
    return found.size() == 1 && found.contains(input);
  }

 private:
  using Set = std::set<size_t>;

  const Set& of(const Value* value) {
    if (const auto found = known_.find(value); found != known_.end()) return found->second;
    static const std::set<c10::Symbol> sizes{c10::aten::size, c10::aten::dim, c10::aten::len,
                                             c10::prim::dtype, c10::prim::device};
    Set result;
    const Node* node = value->node();
    if (!node->blocks().empty()) result = {kSeveral, kSeveral + 1};
    if (!sizes.contains(node->kind()))
      for (const Value* input : node->inputs()) {
        const Set& part = of(input);
        result.insert(part.begin(), part.end());
      }
    return known_[value] = std::move(result);
  }

  static constexpr size_t kSeveral = size_t{1} << 32;  // no input's number
  std::map<const Value*, Set> known_;
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
  Origins origins(graph, inputs);
  std::vector<Node*> nodes;
  for (Node* node : graph.block()->nodes()) {
    for (const Block* inner : node->blocks())
      if (has_attention(*inner)) return {};
    if (node->kind() != kAttention) continue;
    if (!origins.only(node->namedInput("key"), tokens) || !origins.only(node->namedInput("value"), tokens))
      continue;
    if (!is_none(node->namedInput("attn_mask"))) return {};
    nodes.push_back(node);
  }
  return nodes;
}

}  // namespace

std::vector<int64_t> text_layers(const torch::jit::Module& module, size_t tokens, size_t inputs) {
  std::vector<int64_t> layers;
  for (Node* node : text_nodes(*module.get_method("forward").graph(), tokens, inputs))
    layers.push_back(torch::jit::toIValue(node->namedInput("layer"))->toInt());
  return layers;
}

void keep_text_part(torch::jit::Module& module, size_t tokens, size_t inputs) {
  const std::shared_ptr<Graph> graph = module.get_method("forward").graph();
  std::vector<Value*> values;
  for (Node* node : text_nodes(*graph, tokens, inputs))
    for (const char* name : {"key", "value"}) values.push_back(node->namedInput(name));
  Node* tuple = graph->createTuple(values);
  graph->block()->appendNode(tuple);
  graph->eraseOutput(0);
  graph->registerOutput(tuple->output());
  torch::jit::EliminateDeadCode(graph);
}

}  // namespace glint::detail
