#include "network/packed_layers.hpp"

#include "network/heap.hpp"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <ATen/ops/equal.h>

#include <atomic>
#include <string>
#include <utility>

namespace glint::detail {
namespace {

// Sizes of one network in turn: with and without guidance, a last smaller batch, two resolutions.
constexpr size_t kSizesKept = 8;

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

/// An activation as oneDNN's operators call it.
struct ActivationName {
  const char *name, *algorithm;
};

ActivationName name_of(Activation activation) {
  switch (activation) {
    case Activation::Silu: return {"swish", ""};
    case Activation::Gelu: return {"gelu", "none"};
    case Activation::GeluTanh: return {"gelu", "tanh"};
    default: return {"none", ""};
  }
}

/// Counts plain weights that were freed while packed ones were made. What is left of them in the heap is too
/// small for those by an alignment, so that both would be resident.
void freed(int64_t bytes) {
  constexpr int64_t kOften = int64_t{1} << 26;
  static std::atomic<int64_t> since = 0;
  if (since.fetch_add(bytes) + bytes < kOften) return;
  since = 0;
  trim_heap();
}

using Scalars = c10::List<std::optional<at::Scalar>>;

}  // namespace

PackedLayer::PackedLayer(at::Tensor weight, Activation activation)
    : activation_(activation), origin_(weight.const_data_ptr()), plain_(weight.detach()) {}

at::Tensor PackedLayer::plain() const {
  return sizes_.empty() ? plain_ : sizes_.back().order->weight.to_dense();
}

at::Tensor PackedLayer::weight() const {
  const std::lock_guard lock(mutex_);
  return plain();
}

void PackedLayer::add_bytes(WeightBytes& sum) const {
  const std::lock_guard lock(mutex_);
  sum.add(plain_);
  for (const Size& size : sizes_)  // an opaque tensor tells its numbers, and not what pads them
    sum.add(size.order.get(), size.order->weight.numel() * static_cast<int64_t>(sizeof(float)));
}

std::shared_ptr<const PackedLayer::Order> PackedLayer::order_for(const std::vector<int64_t>& input) {
  static const auto describe = operator_called("mkldnn::_get_mkldnn_serialized_md");
  const std::lock_guard lock(mutex_);
  for (const Size& size : sizes_)
    if (input == size.input) return size.order;
  at::Tensor packed = reordered(plain(), input);
  const at::Tensor description = call(describe, packed);
  std::shared_ptr<const Order> order;
  for (const Size& size : sizes_)
    if (at::equal(size.order->description, description)) order = size.order;
  if (!order) order = std::make_shared<const Order>(Order{description, std::move(packed)});
  sizes_.push_back({input, order});
  if (sizes_.size() > kSizesKept) sizes_.erase(sizes_.begin());
  if (plain_.defined()) freed(static_cast<int64_t>(std::exchange(plain_, at::Tensor()).nbytes()));
  return order;
}

at::Tensor PackedLayer::run(const at::Tensor& x, const std::optional<at::Tensor>& bias) {
  return computed(x, order_for(size_of(x))->weight, bias);
}

PackedConvolution::PackedConvolution(at::Tensor weight, Settings settings, Activation activation)
    : PackedLayer(std::move(weight), activation), settings_(std::move(settings)) {}

std::vector<int64_t> PackedConvolution::size_of(const at::Tensor& x) const { return x.sizes().vec(); }

at::Tensor PackedConvolution::reordered(const at::Tensor& plain, const std::vector<int64_t>& size) const {
  static const auto reorder = operator_called("mkldnn::_reorder_convolution_weight");
  return call(reorder, plain, settings_.padding, settings_.stride, settings_.dilation, settings_.groups,
              size);
}

at::Tensor PackedConvolution::computed(const at::Tensor& x, const at::Tensor& packed,
                                       const std::optional<at::Tensor>& bias) const {
  static const auto convolution = operator_called("mkldnn::_convolution_pointwise");
  const ActivationName after = name_of(activation());
  return call(convolution, x, packed, bias, settings_.padding, settings_.stride, settings_.dilation,
              settings_.groups, after.name, Scalars(), after.algorithm);
}

PackedLinear::PackedLinear(at::Tensor weight, Activation activation)
    : PackedLayer(std::move(weight), activation) {}

std::vector<int64_t> PackedLinear::size_of(const at::Tensor& x) const {
  return {std::max<int64_t>(x.numel() / std::max<int64_t>(x.size(-1), 1), 1)};
}

at::Tensor PackedLinear::reordered(const at::Tensor& plain, const std::vector<int64_t>& size) const {
  static const auto reorder = operator_called("mkldnn::_reorder_linear_weight");
  return call(reorder, plain, size.front());
}

at::Tensor PackedLinear::computed(const at::Tensor& x, const at::Tensor& packed,
                                  const std::optional<at::Tensor>& bias) const {
  static const auto linear = operator_called("mkldnn::_linear_pointwise");
  const ActivationName after = name_of(activation());
  return call(linear, x, packed, bias, after.name, Scalars(), after.algorithm);
}

}  // namespace glint::detail
