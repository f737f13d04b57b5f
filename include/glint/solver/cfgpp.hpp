// CFG++: first-order steps that denoise with guidance and renoise without.
#pragma once

#include <glint/solver/first_order.hpp>

namespace glint {

/// x' = alpha' x0(guided) + sigma' eps(null). The guidance scale is lambda in [0, 1], 0.6 by default: it interpolates, and
/// lambda 1 is not the unguided run, since the noise still comes from the null prediction.
/// Cost:    N predictions with the null prompt's branch, which guidance has anyway.
/// Source:  Chung et al., "CFG++: Manifold-constrained Classifier Free Guidance", ICLR 2025, arXiv:2406.08070, Alg. 2.
class CfgPlusPlus final : public Solver {
 public:
  using Options = NoOptions;
  static constexpr EntryInfo info{
      .kind = "solver",
      .name = "cfgpp",
      .summary = "denoises with guidance, renoises with the null prediction; scale in [0, 1]",
      .cost = "N predictions, the null branch included",
      .source = "Chung et al. 2025, ICLR, arXiv:2406.08070, Alg. 2"};

  explicit CfgPlusPlus(NoOptions = {}) {}

  at::Tensor step(const SolverStep& s, SolverHistory&, NoiseStream&) const override {
    const Affine x0 = denoised_from(s.parameterization, s.from());
    if (s.to().sigma == 0.0) return (s.to().alpha * x0)(s.x, s.output);
    const Affine eps = epsilon_from(s.parameterization, s.from());
    return (s.to().alpha * x0)(s.x, s.output).add_((s.to().sigma * eps)(s.x, s.null_output));
  }
  GridConvention grid() const override { return GridConvention::Euler; }
  bool wants_null() const override { return true; }
  std::optional<double> default_guidance() const override { return 0.6; }
};

}  // namespace glint
