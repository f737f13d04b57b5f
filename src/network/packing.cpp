#include "network/packing.hpp"

#include <glint/core/error.hpp>

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/equal.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <set>

namespace glint::detail {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// Sizes of one network in turn: with and without guidance, a last smaller batch, two resolutions.
constexpr size_t kSizesKept = 8;

thread_local const PackedLayers* current_layers = nullptr;

/// Calls one of oneDNN's operators, which have no C++ functions.
template <typename... Arguments>
at::Tensor call(const c10::OperatorHandle& handle, Arguments&&... arguments) {
  torch::jit::Stack stack{c10::IValue(std::forward<Arguments>(arguments))...};
  handle.callBoxed(stack);
  return stack.front().toTensor();
}

c10::OperatorHandle operator_called(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "");
}

at::Tensor packed_convolution(const at::Tensor& x, int64_t layer, const std::optional<at::Tensor>& bias) {
  GLINT_CHECK(current_layers && layer >= 0 && layer < static_cast<int64_t>(current_layers->size()), Internal,
              "packed_convolution: there is no layer {}", layer);
  return (*current_layers)[static_cast<size_t>(layer)]->run(x, bias);
}

}  // namespace

PackedConvolution::PackedConvolution(at::Tensor weight, Settings settings)
    : settings_(std::move(settings)), origin_(weight.const_data_ptr()), plain_(weight.detach()) {}

at::Tensor PackedConvolution::plain() const {
  return sizes_.empty() ? plain_ : sizes_.back().order->weight.to_dense();
}

at::Tensor PackedConvolution::weight() const {
  const std::lock_guard lock(mutex_);
  return plain();
}

std::shared_ptr<const PackedConvolution::Order> PackedConvolution::order_for(const at::Tensor& x) {
  static const auto reorder = operator_called("mkldnn::_reorder_convolution_weight");
  static const auto describe = operator_called("mkldnn::_get_mkldnn_serialized_md");
  const std::lock_guard lock(mutex_);
  for (const Size& size : sizes_)
    if (x.sizes() == size.input) return size.order;
  at::Tensor packed = call(reorder, plain(), settings_.padding, settings_.stride, settings_.dilation,
                           settings_.groups, x.sizes().vec());
  const at::Tensor description = call(describe, packed);
  std::shared_ptr<const Order> order;
  for (const Size& size : sizes_)
    if (at::equal(size.order->description, description)) order = size.order;
  if (!order) order = std::make_shared<const Order>(Order{description, std::move(packed)});
  sizes_.push_back({x.sizes().vec(), order});
  if (sizes_.size() > kSizesKept) sizes_.erase(sizes_.begin());
  plain_.reset();
  return order;
}

at::Tensor PackedConvolution::run(const at::Tensor& x, const std::optional<at::Tensor>& bias) {
  static const auto convolution = operator_called("mkldnn::_convolution_pointwise");
  return call(convolution, x, order_for(x)->weight, bias, settings_.padding, settings_.stride,
              settings_.dilation, settings_.groups, settings_.silu ? "swish" : "none",
              c10::List<std::optional<at::Scalar>>(), "");
}

PackedScope::PackedScope(const PackedLayers& layers) : outer_(std::exchange(current_layers, &layers)) {}
PackedScope::~PackedScope() { current_layers = outer_; }

namespace {

const c10::Symbol kConv2d = c10::Symbol::fromQualString("aten::conv2d");
const c10::Symbol kConvolution = c10::Symbol::fromQualString("aten::_convolution");
const c10::Symbol kSilu = c10::Symbol::fromQualString("aten::silu");
const c10::Symbol kPacked = c10::Symbol::fromQualString("glint::packed_convolution");

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

/// Reads a node as a convolution that can be packed, or returns null.
std::shared_ptr<PackedConvolution> convolution_of(const Node& node, bool silu) {
  const bool traced = node.kind() == kConvolution;
  if ((!traced && node.kind() != kConv2d) || node.inputs().size() < 7) return nullptr;
  if (traced && !is_false(node.input(6))) return nullptr;  // transposed
  const auto weight = torch::jit::toIValue(node.input(1));
  const auto groups = torch::jit::toIValue(node.input(traced ? 8 : 6));
  const auto stride = pair_of(node.input(3)), padding = pair_of(node.input(4)),
             dilation = pair_of(node.input(5));
  if (!weight || !weight->isTensor() || !groups || !stride || !padding || !dilation) return nullptr;
  const at::Tensor& plain = weight->toTensor();
  if (plain.dim() != 4 || !plain.device().is_cpu() || plain.layout() != at::kStrided ||
      plain.scalar_type() != at::kFloat)
    return nullptr;
  return std::make_shared<PackedConvolution>(
      plain, PackedConvolution::Settings{*stride, *padding, *dilation, groups->toInt(), silu});
}

/// The one node that reads a node's one output, or null.
Node* only_reader(const Node& node) {
  if (node.outputs().size() != 1 || node.output()->uses().size() != 1) return nullptr;
  return node.output()->uses().front().user;
}

void pack(Block& block, PackedLayers& layers) {
  for (auto it = block.nodes().begin(); it != block.nodes().end();) {
    Node* node = *it++;  // advance first: the node may be removed
    for (Block* inner : node->blocks()) pack(*inner, layers);
    Node* silu = only_reader(*node);
    if (silu && silu->kind() != kSilu) silu = nullptr;
    const auto layer = convolution_of(*node, silu != nullptr);
    if (!layer) continue;
    Graph& graph = *node->owningGraph();
    const torch::jit::WithInsertPoint before(node);
    Value* output =
        graph.insert(kPacked, {node->input(0), static_cast<int64_t>(layers.size()), node->input(2)});
    (silu ? silu->output() : node->output())->replaceAllUsesWith(output);
    if (it != block.nodes().end() && *it == silu) ++it;
    if (silu) silu->destroy();
    node->destroy();
    layers.push_back(layer);
  }
}

/// The memory of every tensor that is a constant of the block.
void add_constants(Block& block, std::set<const void*>& memory) {
  for (Node* node : block.nodes()) {
    for (Block* inner : node->blocks()) add_constants(*inner, memory);
    if (node->kind() != c10::prim::Constant || node->outputs().size() != 1) continue;
    const auto constant = torch::jit::toIValue(node->output());
    if (constant && constant->isTensor() && constant->toTensor().layout() == at::kStrided)
      memory.insert(constant->toTensor().const_data_ptr());
  }
}

void unpack(Block& block, const PackedLayers& layers) {
  for (auto it = block.nodes().begin(); it != block.nodes().end();) {
    Node* node = *it++;
    for (Block* inner : node->blocks()) unpack(*inner, layers);
    if (node->kind() != kPacked) continue;
    const auto& layer = *layers.at(static_cast<size_t>(torch::jit::toIValue(node->input(1))->toInt()));
    const PackedConvolution::Settings& settings = layer.settings();
    Graph& graph = *node->owningGraph();
    const torch::jit::WithInsertPoint before(node);
    Value* output =
        graph.insert(kConv2d, {node->input(0), graph.insertConstant(layer.weight()), node->input(2),
                               settings.stride, settings.padding, settings.dilation, settings.groups});
    if (settings.silu) output = graph.insert(kSilu, {output});
    node->output()->replaceAllUsesWith(output);
    node->destroy();
  }
}

}  // namespace

PackedLayers pack_convolutions(torch::jit::Module& module) {
  PackedLayers layers;
  if (!at::hasMKLDNN() || !at::globalContext().userEnabledMkldnn()) return layers;
  const auto graph = module.get_method("forward").graph();
  pack(*graph->block(), layers);
  torch::jit::EliminateDeadCode(graph);  // lets go of the plain weights
  std::set<const void*> memory;
  add_constants(*graph->block(), memory);
  for (const auto& layer : layers) layer->keep_if_in(memory);
  return layers;
}

void unpack_convolutions(torch::jit::Module& module, const PackedLayers& layers) {
  const auto graph = module.get_method("forward").graph();
  unpack(*graph->block(), layers);
  torch::jit::EliminateDeadCode(graph);
}

TORCH_LIBRARY_FRAGMENT(glint, m) {
  m.def("packed_convolution(Tensor x, int layer, Tensor? bias) -> Tensor", packed_convolution);
}

}  // namespace glint::detail
