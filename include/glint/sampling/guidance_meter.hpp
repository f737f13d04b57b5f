// Measures the effective guidance scale of a run, whatever its rules and strategies.
#pragma once

#include <glint/export.hpp>
#include <glint/sampling/run.hpp>

#include <array>
#include <span>
#include <vector>

namespace glint {

/// Effective guidance of one sample, one value per step. Recovers the prediction P* that would take a
/// first-order step between the step's latents, then splits P* - P_uncond along D = P_cond - P_uncond. Steps
/// where |D|^2 < 1e-12 are NaN and excluded from the means.
/// Source:  arXiv:2602.22570 (GA-Eval).
struct EffectiveGuidance {
  std::vector<double> signed_scale = {};    ///< <P* - P_uncond, D> / <D, D>; w for CFG at scale w
  std::vector<double> unsigned_scale = {};  ///< its absolute value, the paper's omega
  std::vector<double> orthogonal = {};      ///< |remainder| / |D|: what no guidance scale explains
  double mean_signed_scale = 0.0, mean_unsigned_scale = 0.0, mean_orthogonal = 0.0;
};

/// Returns the means over the measured samples.   Errors: InvalidArgument for an empty list.
GLINT_API EffectiveGuidance mean_of(std::span<const EffectiveGuidance> samples);

/// Measures each step of a run from the latents before and after it.
class GLINT_API GuidanceMeter {
 public:
  /// `predictor` is the run's own; its model must have an unconditional branch.
  explicit GuidanceMeter(const Predictor& predictor);

  /// Cost:    2 rows per sample.
  void measure(Run& run, const at::Tensor& x, const at::Tensor& next, int step);

  /// Returns one result per sample.   Cost: a device synchronisation, so call it after the run.
  std::vector<EffectiveGuidance> result() const;

 private:
  std::array<Predictor, 2> predictors_;         // conditional, unconditional
  std::vector<at::Tensor> along_, orthogonal_;  // [B] per step
};

}  // namespace glint
