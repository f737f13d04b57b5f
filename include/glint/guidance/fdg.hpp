// Frequency-decoupled guidance (FDG): separate scales for fine and coarse structure.
#pragma once

#include <glint/guidance/difference_rule.hpp>

#ifndef GLINT_CORE_ONLY
#include <glint/core/host_macros_off.hpp>

#include <ATen/ops/conv2d.h>
#include <ATen/ops/reflection_pad2d.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include <glint/core/host_macros_on.hpp>
#endif

#include <optional>
#include <vector>

namespace glint {

struct FdgOptions {
  double scale = 10.0;
  std::optional<double> low_scale = std::nullopt;  ///< unset = scale / 2, as published (10 and 5)
  double parallel = 1.0;

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale, kScaleField);
    visit("low_scale", o.low_scale,
          Field{.help = "guidance scale of low frequencies (scale sets the high ones); default: scale / 2",
                .minimum = -100,
                .maximum = 1000});
    visit("parallel", o.parallel,
          Field{.help = "weight of each band's component parallel to the prediction's band; 1 = unchanged",
                .minimum = -10,
                .maximum = 10});
  }
};

/// Predicts c + (w_high - 1) high(c - u) + (w_low - 1) low(c - u), split by one level of a Laplacian pyramid:
/// low = up(down), high = the remainder, so equal scales give CFG. `parallel` weights the component of each
/// band's difference along c's band. Video frames are filtered one by one.
/// Cost:    2 rows per sample and step.
/// Source:  Sadat et al., "Guidance in the Frequency Domain Enables High-Fidelity Sampling at Low CFG
///          Scales", arXiv:2506.19713.
class Fdg final : public DifferenceRule {
 public:
  using Options = FdgOptions;
  static constexpr EntryInfo info{.kind = "rule",
                                  .name = "fdg",
                                  .summary = "guidance with separate scales for high and low frequencies",
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
  /// Returns `shift` with its component along the prediction scaled by `parallel`.
  at::Tensor weighted(const at::Tensor& shift, const at::Tensor& along) const {
    const at::Tensor share =
        per_sample::ratio(per_sample::dot(shift, along), per_sample::dot(along, along), 0.0);
    return shift.add(per_sample::scaled(along, share), options_.parallel - 1.0);
  }

  /// Returns the low band of x [B,C,(F,)H,W]: blurred, at half the height and width.
  static at::Tensor halved(const at::Tensor& x) {
    std::vector<int64_t> sizes = x.sizes().vec();
    int64_t &height = sizes[sizes.size() - 2], &width = sizes.back();
    const at::Tensor planes = blur(x.reshape({-1, 1, height, width}));
    height = (height + 1) / 2;
    width = (width + 1) / 2;
    return at::upsample_bilinear2d(planes, {height, width}, false).reshape(sizes);
  }

  /// Returns a low band enlarged to the size of `like`.
  static at::Tensor enlarged(const at::Tensor& small, const at::Tensor& like) {
    const at::Tensor planes = small.reshape({-1, 1, small.size(-2), small.size(-1)});
    return blur(at::upsample_bilinear2d(planes, {like.size(-2), like.size(-1)}, false)).reshape(like.sizes());
  }

  static at::Tensor blur(const at::Tensor& planes) {
    // Sides shorter than the kernel's radius + 1 have no coarser scale, and reflection padding would fail.
    if (planes.size(-2) < 3 || planes.size(-1) < 3) return planes;
    const at::Tensor line = at::tensor({1.0, 4.0, 6.0, 4.0, 1.0}, planes.options()).div_(16.0);
    const at::Tensor kernel = line.view({5, 1}).mul(line.view({1, 5})).view({1, 1, 5, 5});
    return at::conv2d(at::reflection_pad2d(planes, {2, 2, 2, 2}), kernel);
  }

  FdgOptions options_;
};

}  // namespace glint
