// Weights stored once, as the CPU's convolutions and products read them.
#pragma once

#include <glint/core/tensor.hpp>
#include <glint/network/network.hpp>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

namespace torch::jit {
struct Module;
}

namespace glint::detail {

/// What is done to each value of a layer's result.
enum class Activation { None, Silu, Gelu, GeluTanh };

/// A layer whose float32 weight is stored in the order that oneDNN wants for the sizes it runs at. The first
/// run at a size packs the weight. Runs of other sizes that want another order make a second copy; only the
/// last few orders are kept.
/// Thread:  all functions may be called concurrently.
class PackedLayer {
 public:
  virtual ~PackedLayer() = default;
  PackedLayer(const PackedLayer&) = delete;
  PackedLayer& operator=(const PackedLayer&) = delete;

  /// Returns the layer's result for `x`, its activation applied.
  at::Tensor run(const at::Tensor& x, const std::optional<at::Tensor>& bias);

  /// Returns the weight as it was given, bit for bit: a copy once it has been packed.
  at::Tensor weight() const;

  /// Whether `tensor` is the weight as given, and nothing else in the network reads it.
  bool replaces(const at::Tensor& tensor) const { return origin_ && tensor.const_data_ptr() == origin_; }

  /// Told what else the network reads.
  void keep_if_in(const std::set<const void*>& memory) {
    if (memory.contains(origin_)) origin_ = nullptr;
  }

  Activation activation() const { return activation_; }

  /// Adds the weight, as given or in all orders it is stored in.
  void add_bytes(WeightBytes& sum) const;

 protected:
  PackedLayer(at::Tensor weight, Activation activation);

  /// Returns the sizes of `x` that the order depends on.
  virtual std::vector<int64_t> size_of(const at::Tensor& x) const = 0;
  /// Returns the plain weight in the order for such a size, opaque.
  virtual at::Tensor reordered(const at::Tensor& plain, const std::vector<int64_t>& size) const = 0;
  virtual at::Tensor computed(const at::Tensor& x, const at::Tensor& packed,
                              const std::optional<at::Tensor>& bias) const = 0;

 private:
  struct Order {
    at::Tensor description;  ///< oneDNN's, serialized
    at::Tensor weight;       ///< opaque
  };
  struct Size {
    std::vector<int64_t> input;
    std::shared_ptr<const Order> order;
  };

  std::shared_ptr<const Order> order_for(const std::vector<int64_t>& size);
  at::Tensor plain() const;

  Activation activation_;
  const void* origin_;
  mutable std::mutex mutex_;
  at::Tensor plain_;         // until it is packed
  std::vector<Size> sizes_;  // newest last
};

using PackedLayers = std::vector<std::shared_ptr<PackedLayer>>;

/// Makes packed layers, in a frozen module's `forward`, of what has a constant float32 weight on the CPU:
/// every convolution over images, and every linear layer of at least kFewestPacked weights. An activation
/// that alone reads such a layer's result becomes part of it. Otherwise torch reorders a convolution's weight
/// in every call: for a 1280-channel 3x3 convolution over 8x8 pixels that takes longer than the convolution.
/// Results differ from the plain network's by rounding. Returns the layers, none if torch was built without
/// oneDNN; the module runs with a PackedScope of them only.
PackedLayers pack_layers(torch::jit::Module& module);

/// Smaller linear layers gain nothing: what a call costs beside the product, 0.03 ms more than torch's own,
/// is as much as the product gains. A layer is packed for what it is and not for how often or at what size it
/// runs, so that results do not depend on the runs before.
inline constexpr int64_t kFewestPacked = int64_t{1} << 20;

/// Puts the plain layers back, which unlike packed ones are differentiable.
void unpack_layers(torch::jit::Module& module, const PackedLayers& layers);

/// Adds the tensors that are constants of a module's `forward`.
void add_constants(const torch::jit::Module& module, WeightBytes& sum);

/// The layers of the network that the calling thread runs.
class PackedScope {
 public:
  explicit PackedScope(const PackedLayers& layers);
  ~PackedScope();
  PackedScope(const PackedScope&) = delete;
  PackedScope& operator=(const PackedScope&) = delete;

 private:
  const PackedLayers* outer_;
};

}  // namespace glint::detail
