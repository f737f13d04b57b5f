// Tangential damping (TCFG): guides from the part of the unconditional prediction shared with the
// conditional.
#pragma once

#include <glint/guidance/difference_rule.hpp>

namespace glint {

struct TcfgOptions {
  double scale = 7.5;
  static void fields(auto& visit, auto& o) { visit("scale", o.scale, kScaleField); }
};

/// Predicts u' + w (c - u'), where u' projects u onto the first right-singular vector of the rows (c, u),
/// found from their 2 x 2 Gram matrix. Plain CFG where the singular values are equal and that vector is
/// undetermined.
/// Cost:    2 rows per sample and step.
/// Source:  Kwon et al., "TCFG: Tangential Damping Classifier-free Guidance", CVPR 2025, arXiv:2503.18137.
class Tcfg final : public DifferenceRule {
 public:
  using Options = TcfgOptions;
  static constexpr EntryInfo info{
      .kind = "rule",
      .name = "tcfg",
      .summary = "guidance from the component the unconditional prediction shares with the conditional one",
      .cost = "2 N rows",
      .source = "Kwon et al. 2025, CVPR, arXiv:2503.18137"};

  explicit Tcfg(TcfgOptions options = {}) : options_(options) { check_ranges(info.name, options); }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep&, GuidanceState*) const override {
    const at::Tensor cc = per_sample::dot(o.cond, o.cond), cu = per_sample::dot(o.cond, o.uncond),
                     uu = per_sample::dot(o.uncond, o.uncond);
    // Eigenvector (p, q) of [[cc, cu], [cu, uu]] for the larger eigenvalue, in whichever of two forms avoids
    // cancellation.
    const at::Tensor half = cc.sub(uu).div(2.0);
    const at::Tensor root = half.square().add(cu.square()).sqrt();
    const at::Tensor larger = cc.add(uu).div(2.0).add(root);
    const at::Tensor first = half.ge(0.0);
    const at::Tensor p = half.add(root).where(first, cu), q = cu.where(first, root.sub(half));
    // u' = (p <u,c> + q <u,u>) / (larger |(p,q)|^2) (p c + q u)
    const at::Tensor factor =
        per_sample::ratio(p.mul(cu).add(q.mul(uu)), larger.mul(p.square().add(q.square())), 0.0);
    const at::Tensor equal = root.le(larger.mul(1e-12));
    const at::Tensor of_c = factor.mul(p).masked_fill(equal, 0.0),
                     of_u = factor.mul(q).masked_fill(equal, 1.0);
    const at::Tensor damped = per_sample::scaled(o.cond, of_c).add(per_sample::scaled(o.uncond, of_u));
    return at::lerp(damped, o.cond, options_.scale);
  }

 private:
  TcfgOptions options_;
};

}  // namespace glint
