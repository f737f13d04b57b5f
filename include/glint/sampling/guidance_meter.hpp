// What guidance a run amounted to in effect, whatever rules and strategies it had.
#pragma once

#include <glint/export.hpp>
#include <glint/sampling/run.hpp>

#include <array>
#include <span>
#include <vector>

namespace glint {

/// How strong guidance was in effect for one sample, whatever strategies and rules the run had: one value per
/// step. A step's latents are turned back into the prediction P* that a first-order step would have needed;
/// then P* - P_uncond is split along D = P_cond - P_uncond. Steps where |D|^2 < 1e-12 are NaN and not part of
/// the means.
/// Source:  arXiv:2602.22570 (GA-Eval).
struct EffectiveGuidance {
  std::vector<double> signed_scale = {};    ///< <P* - P_uncond, D> / <D, D>: CFG at w gives w
  std::vector<double> unsigned_scale = {};  ///< its absolute value, the paper's omega
  std::vector<double> orthogonal = {};      ///< |rest| / |D|: what no guidance scale can do
  double mean_signed_scale = 0.0, mean_unsigned_scale = 0.0, mean_orthogonal = 0.0;
};

/// Returns the means over samples, of those that were measured.   Errors: InvalidArgument for an empty list.
GLINT_API EffectiveGuidance mean_of(std::span<const EffectiveGuidance> samples);

/// Measures every step of a run, from the latents before and after it.
class GLINT_API GuidanceMeter {
 public:
  /// `predictor` is the run's own. Its model has an unconditional branch.
  explicit GuidanceMeter(const Predictor& predictor);

  /// Cost:    2 rows per sample.
  void measure(Run& run, const at::Tensor& x, const at::Tensor& next, int step);

  /// Returns one result per sample.   Cost: a synchronisation with the device, so ask when the run is over.
  std::vector<EffectiveGuidance> result() const;

 private:
  std::array<Predictor, 2> predictors_;         // under the prompt, and under the negative one
  std::vector<at::Tensor> along_, orthogonal_;  // [B] of each step
};

}  // namespace glint
