// Classifier-free guidance (CFG).
#pragma once

#include <glint/core/options.hpp>
#include <glint/guidance/guidance_rule.hpp>

namespace glint {

/// Which branches to evaluate at a scale that needs only one.
enum class Branches {
  Needed,     ///< only that one
  LegacyBoth  ///< both, as the released code does; same result
};
template <>
struct EnumNames<Branches> {
  static constexpr std::array<std::string_view, 2> values{"needed", "legacy-both"};
};
inline constexpr Field kBranchesField{.help =
                                          "branches evaluated at scales 0 and 1: the one needed, or both, as "
                                          "the released code does (same result)"};

struct CfgOptions {
  double scale = 5.0;
  Branches branches = Branches::Needed;

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale,
          {.help = "guidance scale; 1 = off, 0 = unconditional only", .minimum = -100, .maximum = 1000});
    visit("branches", o.branches, kBranchesField);
  }
};

/// Predicts uncond + scale (cond - uncond), from one branch alone at scale 0 or 1.
/// Cost:    2 rows per sample and step; 1 at scale 0 or 1, unless both branches are requested.
/// Source:  Ho and Salimans, "Classifier-Free Diffusion Guidance", arXiv:2207.12598, Eq. 6, scale = 1 + w.
class Cfg final : public GuidanceRule {
 public:
  using Options = CfgOptions;
  static constexpr EntryInfo info{.kind = "rule",
                                  .name = "cfg",
                                  .summary = "classifier-free guidance: uncond + scale (cond - uncond)",
                                  .cost = "2 N rows; N at scale 0 or 1 unless branches=legacy-both",
                                  .source = "Ho and Salimans 2022, arXiv:2207.12598"};

  explicit Cfg(CfgOptions options = {})
      : scale_(options.scale), both_(options.branches == Branches::LegacyBoth) {
    check_ranges(info.name, options);
  }
  explicit Cfg(double scale) : Cfg(CfgOptions{scale}) {}

  double scale() const { return scale_; }

  BranchSet branches(const StepPosition&) const override {
    return {.cond = both_ || scale_ != 0.0, .uncond = both_ || scale_ != 1.0};
  }

  at::Tensor combine(const BranchOutputs& outputs, const GuidanceStep&, GuidanceState*) const override {
    if (!outputs.uncond.defined()) return outputs.cond;
    if (!outputs.cond.defined()) return outputs.uncond;
    return at::lerp(outputs.uncond, outputs.cond, scale_);
  }

 private:
  double scale_;
  bool both_;
};

}  // namespace glint
