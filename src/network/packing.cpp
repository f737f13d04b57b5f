#include "network/packing.hpp"

#include "network/packed_layers.hpp"

#include <glint/core/error.hpp>

#include <ATen/Context.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/library.h>

#include <optional>
#include <set>

namespace glint::detail {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

thread_local const PackedLayers* current_layers = nullptr;

at::Tensor packed_layer(const at::Tensor& x, int64_t layer, const std::optional<at::Tensor>& bias) {
  GLINT_CHECK(current_layers && layer >= 0 && layer < static_cast<int64_t>(current_layers->size()), Internal,
              "packed_layer: there is no layer {}", layer);
  return (*current_layers)[static_cast<size_t>(layer)]->run(x, bias);
}

const c10::Symbol kConv2d = c10::Symbol::fromQualString("aten::conv2d");
const c10::Symbol kConvolution = c10::Symbol::fromQualString("aten::_convolution");
const c10::Symbol kLinear = c10::Symbol::fromQualString("aten::linear");
const c10::Symbol kSilu = c10::Symbol::fromQualString("aten::silu");
const c10::Symbol kGelu = c10::Symbol::fromQualString("aten::gelu");
const c10::Symbol kPacked = c10::Symbol::fromQualString("glint::packed_layer");

std::optional<std::vector<int64_t>> pair_of(Value* value) {
  const auto constant = torch::jit::toIValue(value);
  if (!constant || !constant->isIntList()) return std::nullopt;
  std::vector<int64_t> list = constant->toIntVector();
  if (list.size() == 1) list.push_back(list.front());
  return list.size() == 2 ? std::optional(std::move(list)) : std::nullopt;
}

bool is_false(Value* value) {
  const auto constant = torch::jit::toIValue(value);
  return constant && constant->isBool() && !constant->toBool();
}

/// Returns a constant float32 weight on the CPU of so many dimensions, or an undefined tensor.
at::Tensor weight_of(Value* value, int64_t dimensions) {
  const auto constant = torch::jit::toIValue(value);
  if (!constant || !constant->isTensor()) return {};
  at::Tensor weight = constant->toTensor();
  const bool fits = weight.dim() == dimensions && weight.device().is_cpu() &&
                    weight.layout() == at::kStrided && weight.scalar_type() == at::kFloat;
  return fits ? weight : at::Tensor();
}

/// Reads a node as a convolution that can be packed, or returns null.
std::shared_ptr<PackedLayer> convolution_of(const Node& node, Activation activation) {
  const bool traced = node.kind() == kConvolution;
  if ((!traced && node.kind() != kConv2d) || node.inputs().size() < 7) return nullptr;
  if (traced && !is_false(node.input(6))) return nullptr;  // transposed
  const at::Tensor weight = weight_of(node.input(1), 4);
  const auto groups = torch::jit::toIValue(node.input(traced ? 8 : 6));
  const auto stride = pair_of(node.input(3)), padding = pair_of(node.input(4)),
             dilation = pair_of(node.input(5));
  if (!weight.defined() || !groups || !stride || !padding || !dilation) return nullptr;
  return std::make_shared<PackedConvolution>(
      weight, PackedConvolution::Settings{*stride, *padding, *dilation, groups->toInt()}, activation);
}

/// Reads a node as a linear layer that gains by being packed, or returns null.
std::shared_ptr<PackedLayer> linear_of(const Node& node, Activation activation) {
  if (node.kind() != kLinear) return nullptr;
  const at::Tensor weight = weight_of(node.input(1), 2);
  if (!weight.defined() || weight.numel() < kFewestPacked) return nullptr;
  return std::make_shared<PackedLinear>(weight, activation);
}

/// The one node that reads a node's one output, or null.
Node* only_reader(const Node& node) {
  if (node.outputs().size() != 1 || node.output()->uses().size() != 1) return nullptr;
  return node.output()->uses().front().user;
}

Activation activation_of(const Node* node) {
  if (node && node->kind() == kSilu) return Activation::Silu;
  if (!node || node->kind() != kGelu || node->inputs().size() != 2) return Activation::None;
  const auto form = torch::jit::toIValue(node->input(1));
  if (!form || !form->isString()) return Activation::None;
  if (form->toStringRef() == "none") return Activation::Gelu;
  return form->toStringRef() == "tanh" ? Activation::GeluTanh : Activation::None;
}

void pack(Block& block, PackedLayers& layers) {
  for (auto it = block.nodes().begin(); it != block.nodes().end();) {
    Node* node = *it++;  // advance first: the node may be removed
    for (Block* inner : node->blocks()) pack(*inner, layers);
    Node* reader = only_reader(*node);
    const Activation activation = activation_of(reader);
    if (activation == Activation::None) reader = nullptr;
    auto layer = convolution_of(*node, activation);
    if (!layer) layer = linear_of(*node, activation);
    if (!layer) continue;
    Graph& graph = *node->owningGraph();
    const torch::jit::WithInsertPoint before(node);
    Value* output =
        graph.insert(kPacked, {node->input(0), static_cast<int64_t>(layers.size()), node->input(2)});
    (reader ? reader->output() : node->output())->replaceAllUsesWith(output);
    if (it != block.nodes().end() && *it == reader) ++it;
    if (reader) reader->destroy();
    node->destroy();
    layers.push_back(layer);
  }
}

/// Calls `take` with every dense tensor that is a constant of the block.
template <typename Take>
void each_constant(Block& block, const Take& take) {
  for (Node* node : block.nodes()) {
    for (Block* inner : node->blocks()) each_constant(*inner, take);
    if (node->kind() != c10::prim::Constant || node->outputs().size() != 1) continue;
    const auto constant = torch::jit::toIValue(node->output());
    if (constant && constant->isTensor() && constant->toTensor().layout() == at::kStrided)
      take(constant->toTensor());
  }
}

/// Inserts the plain layer that a node runs packed, and returns its result.
Value* plain_layer(Graph& graph, const Node& node, const PackedLayer& layer) {
  Value* weight = graph.insertConstant(layer.weight());
  const auto* convolution = dynamic_cast<const PackedConvolution*>(&layer);
  if (!convolution) return graph.insert(kLinear, {node.input(0), weight, node.input(2)});
  const PackedConvolution::Settings& settings = convolution->settings();
  return graph.insert(kConv2d, {node.input(0), weight, node.input(2), settings.stride, settings.padding,
                                settings.dilation, settings.groups});
}

Value* with_activation(Graph& graph, Value* x, Activation activation) {
  switch (activation) {
    case Activation::Silu: return graph.insert(kSilu, {x});
    case Activation::Gelu: return graph.insert(kGelu, {x});
    case Activation::GeluTanh:
      return graph.insert(kGelu, {x}, {torch::jit::NamedValue("approximate", "tanh")});
    default: return x;
  }
}

void unpack(Block& block, const PackedLayers& layers) {
  for (auto it = block.nodes().begin(); it != block.nodes().end();) {
    Node* node = *it++;
    for (Block* inner : node->blocks()) unpack(*inner, layers);
    if (node->kind() != kPacked) continue;
    const auto& layer = *layers.at(static_cast<size_t>(torch::jit::toIValue(node->input(1))->toInt()));
    Graph& graph = *node->owningGraph();
    const torch::jit::WithInsertPoint before(node);
    Value* output = with_activation(graph, plain_layer(graph, *node, layer), layer.activation());
    node->output()->replaceAllUsesWith(output);
    node->destroy();
  }
}

}  // namespace

PackedLayers pack_layers(torch::jit::Module& module) {
  PackedLayers layers;
  if (!at::hasMKLDNN() || !at::globalContext().userEnabledMkldnn()) return layers;
  const auto graph = module.get_method("forward").graph();
  pack(*graph->block(), layers);
  torch::jit::EliminateDeadCode(graph);  // lets go of the plain weights
  std::set<const void*> memory;
  each_constant(*graph->block(), [&](const at::Tensor& tensor) { memory.insert(tensor.const_data_ptr()); });
  for (const auto& layer : layers) layer->keep_if_in(memory);
  return layers;
}

void add_constants(const torch::jit::Module& module, WeightBytes& sum) {
  each_constant(*module.get_method("forward").graph()->block(),
                [&](const at::Tensor& tensor) { sum.add(tensor); });
}

void unpack_layers(torch::jit::Module& module, const PackedLayers& layers) {
  const auto graph = module.get_method("forward").graph();
  unpack(*graph->block(), layers);
  torch::jit::EliminateDeadCode(graph);
}

PackedScope::PackedScope(const PackedLayers& layers) : outer_(std::exchange(current_layers, &layers)) {}
PackedScope::~PackedScope() { current_layers = outer_; }

TORCH_LIBRARY_FRAGMENT(glint, m) {
  m.def("packed_layer(Tensor x, int layer, Tensor? bias) -> Tensor", packed_layer);
}

}  // namespace glint::detail
