// Classifier-free guidance.
#pragma once

#include <glint/guidance/guidance_rule.hpp>
#include <glint/options.hpp>

namespace glint {

struct CfgOptions {
  double scale = 5.0;

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale,
          {.help = "guidance scale; 1 is off, 0 is the null prompt alone", .minimum = -100, .maximum = 1000});
  }
};

/// Returns null + scale (cond - null). At scale 1 or 0 only one branch is evaluated.
/// Cost:    2 rows per sample and step; 1 at scale 0 or 1.
/// Source:  Ho and Salimans, "Classifier-Free Diffusion Guidance", arXiv:2207.12598, Eq. 6 with scale = 1 + w.
class Cfg final : public GuidanceRule {
 public:
  using Options = CfgOptions;
  static constexpr EntryInfo info{.kind = "rule",
                                  .name = "cfg",
                                  .summary = "classifier-free guidance: null + scale (cond - null)",
                                  .cost = "2 N rows; N at scale 0 or 1",
                                  .source = "Ho and Salimans 2022, arXiv:2207.12598"};

  explicit Cfg(CfgOptions options = {}) : scale_(options.scale) { check_ranges(info.name, options); }
  explicit Cfg(double scale) : Cfg(CfgOptions{scale}) {}

  double scale() const { return scale_; }

  BranchSet branches(const StepPosition&) const override {
    return {.cond = scale_ != 0.0, .null = scale_ != 1.0};
  }

  at::Tensor combine(const BranchOutputs& outputs, const GuidanceStep&, GuidanceState*) const override {
    if (!outputs.null.defined()) return outputs.cond;
    if (!outputs.cond.defined()) return outputs.null;
    return at::lerp(outputs.null, outputs.cond, scale_);
  }

 private:
  double scale_;
};

}  // namespace glint
