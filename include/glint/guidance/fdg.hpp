// Frequency-decoupled guidance: one scale for fine structure, another for coarse.
#pragma once

#include <glint/guidance/difference_rule.hpp>

#include <ATen/ops/conv2d.h>
#include <ATen/ops/reflection_pad2d.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include <optional>
#include <vector>

namespace glint {

struct FdgOptions {
  double scale = 10.0;
  std::optional<double> low_scale = std::nullopt;  ///< unset = half of scale, as published (10 and 5)
  double parallel = 1.0;

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale, kScaleField);
    visit("low_scale", o.low_scale,
          Field{.help = "the scale of low frequencies, scale being that of high ones; unset = half of it",
                .minimum = -100,
                .maximum = 1000});
    visit("parallel", o.parallel,
          Field{.help = "share kept of each band's part along the prediction's own band; 1 keeps all",
                .minimum = -10,
                .maximum = 10});
  }
};

/// Returns c + (w_high - 1) high(c - u) + (w_low - 1) low(c - u), split by one level of a Laplacian pyramid:
/// low = up(down), high = the rest, so that equal scales are CFG. `parallel` weighs the part of each band's
/// difference along c's band. Frames of a video are filtered one by one.
/// Cost:    2 rows per sample and step.
/// Source:  Sadat et al., "Guidance in the Frequency Domain Enables High-Fidelity Sampling at Low CFG
///          Scales", arXiv:2506.19713.
class Fdg final : public DifferenceRule {
 public:
  using Options = FdgOptions;
  static constexpr EntryInfo info{.kind = "rule",
                                  .name = "fdg",
                                  .summary = "guidance with one scale for high and one for low frequencies",
                                  .cost = "2 N rows",
                                  .source = "Sadat et al. 2025, arXiv:2506.19713"};

  explicit Fdg(FdgOptions options = {}) : options_(options) { check_ranges(info.name, options); }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep&, GuidanceState*) const override {
    const double low_scale = options_.low_scale.value_or(0.5 * options_.scale);
    const at::Tensor difference = o.cond.sub(o.uncond);
    const at::Tensor small = halved(difference), low = enlarged(small, o.cond);
    if (options_.parallel == 1.0)
      return o.uncond.add(difference, options_.scale).add_(low, low_scale - options_.scale);
    const at::Tensor small_cond = halved(o.cond);
    const at::Tensor high = weighted(difference.sub(low), o.cond.sub(enlarged(small_cond, o.cond)));
    return o.uncond.add(high, options_.scale).add_(enlarged(weighted(small, small_cond), o.cond), low_scale);
  }

 private:
  /// Returns the shift with `parallel` times its part along the prediction.
  at::Tensor weighted(const at::Tensor& shift, const at::Tensor& along) const {
    const at::Tensor share =
        per_sample::ratio(per_sample::dot(shift, along), per_sample::dot(along, along), 0.0);
    return shift.add(per_sample::scaled(along, share), options_.parallel - 1.0);
  }

  /// Returns the low band of x [B,C,(F,)H,W]: blurred, and half as high and wide.
  static at::Tensor halved(const at::Tensor& x) {
    std::vector<int64_t> sizes = x.sizes().vec();
    int64_t &height = sizes[sizes.size() - 2], &width = sizes.back();
    const at::Tensor planes = blur(x.reshape({-1, 1, height, width}));
    height = (height + 1) / 2;
    width = (width + 1) / 2;
    return at::upsample_bilinear2d(planes, {height, width}, false).reshape(sizes);
  }

  /// Returns a low band at the size of `like` again.
  static at::Tensor enlarged(const at::Tensor& small, const at::Tensor& like) {
    const at::Tensor planes = small.reshape({-1, 1, small.size(-2), small.size(-1)});
    return blur(at::upsample_bilinear2d(planes, {like.size(-2), like.size(-1)}, false)).reshape(like.sizes());
  }

  static at::Tensor blur(const at::Tensor& planes) {
    // A side shorter than the kernel's reach has no coarser scale than itself.
    if (planes.size(-2) < 3 || planes.size(-1) < 3) return planes;
    const at::Tensor line = at::tensor({1.0, 4.0, 6.0, 4.0, 1.0}, planes.options()).div_(16.0);
    const at::Tensor kernel = line.view({5, 1}).mul(line.view({1, 5})).view({1, 1, 5, 5});
    return at::conv2d(at::reflection_pad2d(planes, {2, 2, 2, 2}), kernel);
  }

  FdgOptions options_;
};

}  // namespace glint
