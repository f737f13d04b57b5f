// MAMBO-G: lowers the guidance scale where the difference is large relative to the unconditional prediction.
#pragma once

#include <glint/guidance/difference_rule.hpp>

namespace glint {

struct MamboGOptions {
  double scale = 10.0;
  double alpha = 8.0;

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale, kScaleField);
    visit("alpha", o.alpha,
          Field{.help = "how fast the scale decays with |c - u| / |u|", .minimum = 0, .maximum = 1000});
  }
};

/// Predicts u + w' (c - u) with w' = 1 + (w - 1) exp(-alpha |c - u| / |u|) per sample.
/// Cost:    2 rows per sample and step.
/// Source:  "MAMBO-G: Magnitude-Aware Mitigation for Boosted Guidance", as in diffusers' guider of that name.
class MamboG final : public DifferenceRule {
 public:
  using Options = MamboGOptions;
  static constexpr EntryInfo info{.kind = "rule",
                                  .name = "mambo-g",
                                  .summary = "guidance damped where the difference is large",
                                  .cost = "2 N rows",
                                  .source = "MAMBO-G 2025"};

  explicit MamboG(MamboGOptions options = {}) : options_(options) { check_ranges(info.name, options); }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep&, GuidanceState*) const override {
    const at::Tensor difference = o.cond.sub(o.uncond);
    const at::Tensor share = per_sample::norm(difference).div(per_sample::norm(o.uncond).clamp_min(1e-30));
    const at::Tensor scale = share.mul(-options_.alpha).exp().mul(options_.scale - 1.0).add(1.0);
    return o.uncond.add(per_sample::scaled(difference, scale));
  }

 private:
  MamboGOptions options_;
};

}  // namespace glint
