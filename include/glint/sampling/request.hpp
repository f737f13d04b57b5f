// What a sampler is asked for, and what it gives back. Plain options; use designated initialisers.
#pragma once

#include <glint/predictor.hpp>
#include <glint/sampling/observer.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace glint {

/// One call of Sampler::sample.
struct SampleRequest {
  Prompt prompt = {};
  uint64_t seed = 0;                       ///< sample b is drawn with seed + b
  int64_t batch = 1;                       ///< samples; ignored when `noise` is given
  std::vector<int64_t> latent_shape = {};  ///< [C,H,W] or [C,F,H,W]; empty = the model's own, if it is fixed
  at::Tensor noise = {};         ///< initial standard normal noise [B,...]; undefined = drawn from seed
  Observer* observer = nullptr;  ///< borrowed for the call
  bool keep_trajectory = false;  ///< keep the latents of every level
  /// Measure each step's effective guidance scale. Costs 2 N rows ("effective-guidance" in by_stage).
  bool effective_guidance = false;
  bool check_finite = false;  ///< look for NaN and infinity after every step; costs a pass and a sync
};

/// How strong a run's guidance was in effect, whatever strategies and rules it had: one value per step, averaged over the
/// samples. A step's latents are turned back into the prediction P* that a first-order step would have needed; then
/// P* - P_uncond is split along D = P_cond - P_uncond. Steps where |D|^2 < 1e-12 are NaN and not part of the means.
/// Source:  arXiv:2602.22570 (GA-Eval).
struct EffectiveGuidance {
  std::vector<double> signed_scale = {};    ///< <P* - P_uncond, D> / <D, D>: CFG at w gives w
  std::vector<double> unsigned_scale = {};  ///< its absolute value, the paper's omega
  std::vector<double> orthogonal = {};      ///< |rest| / |D|: what no guidance scale can do
  double mean_signed_scale = 0.0, mean_unsigned_scale = 0.0, mean_orthogonal = 0.0;
};

/// What a run produced and what it cost.
struct SampleResult {
  at::Tensor latents = {};                  ///< [B,...] on the CPU, the sampler's dtype
  std::vector<at::Tensor> trajectory = {};  ///< N+1 tensors [B,...], if asked for
  uint64_t seed = 0;
  int steps = 0;
  Usage usage = {};                            ///< of the whole run
  std::map<std::string, Usage> by_stage = {};  ///< "denoise" and one entry per strategy that did anything
  Reports reports = {};                        ///< what strategies found out
  std::optional<EffectiveGuidance> effective_guidance = {};  ///< if asked for
};

}  // namespace glint
