// Frequency-decoupled guidance: one scale for fine structure, another for coarse.
#pragma once

#include <glint/guidance/difference_rule.hpp>

#include <ATen/ops/conv2d.h>
#include <ATen/ops/reflection_pad2d.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/upsample_bilinear2d.h>

namespace glint {

struct FdgOptions {
  double scale = 10.0;
  double low_scale = 5.0;

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale,
          Field{.help = "guidance scale of high frequencies", .minimum = -100, .maximum = 1000});
    visit("low_scale", o.low_scale,
          Field{.help = "guidance scale of low frequencies", .minimum = -100, .maximum = 1000});
  }
};

/// Returns c + (w_high - 1) high(c - u) + (w_low - 1) low(c - u), split by one level of a Laplacian pyramid: low = up(down),
/// high = the rest, so that equal scales are CFG. Frames of a video are filtered one by one.
/// Cost:    2 rows per sample and step.
/// Source:  Sadat et al., "Guidance in the Frequency Domain Enables High-Fidelity Sampling at Low CFG Scales",
///          arXiv:2506.19713.
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
    const at::Tensor difference = o.cond.sub(o.null);
    const at::Tensor low = low_pass(difference);
    return o.null.add(difference, options_.scale).add_(low, options_.low_scale - options_.scale);
  }

 private:
  /// Returns the coarse part of x [B,C,(F,)H,W]: blurred, halved, and enlarged again.
  static at::Tensor low_pass(const at::Tensor& x) {
    const int64_t height = x.size(-2), width = x.size(-1);
    const at::Tensor planes = x.reshape({-1, 1, height, width});
    const at::Tensor small =
        at::upsample_bilinear2d(blur(planes), {(height + 1) / 2, (width + 1) / 2}, false);
    return blur(at::upsample_bilinear2d(small, {height, width}, false)).reshape(x.sizes());
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
