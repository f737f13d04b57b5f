// The kinds of packed layers.
#pragma once

#include "network/packing.hpp"

namespace glint::detail {

/// A convolution over images, [B,C,H,W] to [B,C',H',W'] in channels-last order; the weight is
/// [C',C/groups,kH,kW].
class PackedConvolution final : public PackedLayer {
 public:
  struct Settings {
    std::vector<int64_t> stride, padding, dilation;
    int64_t groups = 1;
  };

  PackedConvolution(at::Tensor weight, Settings settings, Activation activation);
  const Settings& settings() const { return settings_; }

 private:
  std::vector<int64_t> size_of(const at::Tensor& x) const override;
  at::Tensor reordered(const at::Tensor& plain, const std::vector<int64_t>& size) const override;
  at::Tensor computed(const at::Tensor& x, const at::Tensor& packed,
                      const std::optional<at::Tensor>& bias) const override;

  Settings settings_;
};

/// A linear layer, [...,K] to [...,N]; the weight is [N,K].
class PackedLinear final : public PackedLayer {
 public:
  PackedLinear(at::Tensor weight, Activation activation);

 private:
  std::vector<int64_t> size_of(const at::Tensor& x) const override;
  at::Tensor reordered(const at::Tensor& plain, const std::vector<int64_t>& size) const override;
  at::Tensor computed(const at::Tensor& x, const at::Tensor& packed,
                      const std::optional<at::Tensor>& bias) const override;
};

}  // namespace glint::detail
