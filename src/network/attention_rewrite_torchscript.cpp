// Attention rewrite for TorchScript: replaces nodes of the graph.
#include <glint/core/error.hpp>
#include <glint/network/attention_rewrite.hpp>

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <set>

namespace glint {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;

class Rewriter {
 public:
  int64_t layers() const { return layers_; }

  /// Whether a rewritten graph still has calls that could not be inlined.
  bool open_calls() const { return open_calls_; }

  void rewrite(const torch::jit::Method& method) {
    const auto graph = method.graph();
    if (!done_.insert(graph.get()).second) return;
    torch::jit::Inline(*graph);
    rewrite(*graph->block());
  }

 private:
  void rewrite(Block& block) {
    for (auto it = block.nodes().begin(); it != block.nodes().end();) {
      Node* node = *it++;  // advance first: the node may be removed
      if (node->kind() == kAtenAttention) {
        replace(*node);
        continue;
      }
      if (node->kind() == c10::prim::CallMethod || node->kind() == c10::prim::CallFunction)
        open_calls_ = true;
      for (Block* inner : node->blocks()) rewrite(*inner);
      if (node->hasAttribute(c10::attr::Subgraph)) rewrite(*node->g(c10::attr::Subgraph)->block());
    }
  }

  /// Passes arguments by name, so that torch may reorder them.
  void replace(Node& node) {
    const auto& arguments = schema_.arguments();
    GLINT_CHECK(node.inputs().size() + 1 == arguments.size(), BadModel,
                "scaled_dot_product_attention: expected {} arguments, got {} (made by a later torch?)",
                arguments.size() - 1, node.inputs().size());
    Graph& graph = *node.owningGraph();
    const torch::jit::WithInsertPoint before(&node);
    std::vector<torch::jit::Value*> inputs;
    for (const auto& argument : arguments)
      inputs.push_back(argument.name() == "layer" ? graph.insertConstant(layers_)
                                                  : node.namedInput(argument.name()));
    Node* ours = graph.insertNode(graph.create(kOurAttention, inputs));
    ours->copyMetadata(&node);
    ours->output()->copyMetadata(node.output());
    node.output()->replaceAllUsesWith(ours->output());
    node.destroy();
    ++layers_;
  }

  const c10::Symbol kAtenAttention = c10::Symbol::fromQualString("aten::scaled_dot_product_attention");
  const c10::Symbol kOurAttention = c10::Symbol::fromQualString("glint::attention");
  const c10::FunctionSchema& schema_ =
      c10::Dispatcher::singleton().findSchemaOrThrow("glint::attention", "").schema();
  std::set<const Graph*> done_;
  int64_t layers_ = 0;
  bool open_calls_ = false;
};

}  // namespace

int64_t rewrite_attention(torch::jit::Module& module) {
  Rewriter rewriter;
  rewriter.rewrite(module.get_method("forward"));
  if (rewriter.open_calls()) {
    for (const auto& part : module.modules())
      for (const auto& method : part.get_methods()) rewriter.rewrite(method);
  }
  return rewriter.layers();
}

}  // namespace glint
