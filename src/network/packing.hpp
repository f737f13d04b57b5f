// Weights stored once, as the CPU's convolution kernels read them.
#pragma once

#include <glint/core/tensor.hpp>

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

/// A convolution over images, [B,C,H,W] to [B,C',H',W'], whose float32 weight is stored in the order that
/// oneDNN wants for the sizes it runs at. The first run at a size packs the weight. Runs of other sizes that
/// want another order make a second copy; only the last few orders are kept.
/// Thread:  all functions may be called concurrently.
class PackedConvolution {
 public:
  struct Settings {
    std::vector<int64_t> stride, padding, dilation;
    int64_t groups = 1;
    bool silu = false;  ///< applied to the result
  };

  PackedConvolution(at::Tensor weight, Settings settings);

  /// Returns the convolution of `x`, in channels-last order.
  at::Tensor run(const at::Tensor& x, const std::optional<at::Tensor>& bias);

  /// Returns the weight [C',C/groups,kH,kW] as it was given, bit for bit: a copy once it has been packed.
  at::Tensor weight() const;

  /// Whether `tensor` is the weight as given, and nothing else in the network reads it.
  bool replaces(const at::Tensor& tensor) const { return origin_ && tensor.const_data_ptr() == origin_; }

  /// Told what else the network reads.
  void keep_if_in(const std::set<const void*>& memory) {
    if (memory.contains(origin_)) origin_ = nullptr;
  }

  const Settings& settings() const { return settings_; }

 private:
  struct Order {
    at::Tensor description;  ///< oneDNN's, serialized
    at::Tensor weight;       ///< opaque
  };
  struct Size {
    std::vector<int64_t> input;
    std::shared_ptr<const Order> order;
  };

  std::shared_ptr<const Order> order_for(const at::Tensor& x);
  at::Tensor plain() const;

  Settings settings_;
  const void* origin_;
  mutable std::mutex mutex_;
  at::Tensor plain_;         // until it is packed
  std::vector<Size> sizes_;  // newest last
};

using PackedLayers = std::vector<std::shared_ptr<PackedConvolution>>;

/// Makes every convolution over images with a constant float32 weight on the CPU a packed one, in a frozen
/// module's `forward`, and a SiLU that alone reads its result part of it. Otherwise torch reorders the weight
/// in every call: for a 1280-channel 3x3 convolution over 8x8 pixels that takes longer than the convolution.
/// Results differ from the plain network's by rounding. Returns the layers, none if torch was built without
/// oneDNN; the module runs with a PackedScope of them only.
PackedLayers pack_convolutions(torch::jit::Module& module);

/// Puts the plain convolutions back, which unlike packed ones are differentiable.
void unpack_convolutions(torch::jit::Module& module, const PackedLayers& layers);

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
