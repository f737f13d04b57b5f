// A sampler's request and result. Plain structs; use designated initialisers.
#pragma once

#include <glint/export.hpp>
#include <glint/sampling/guidance_meter.hpp>
#include <glint/sampling/observer.hpp>

#include <map>
#include <string>
#include <vector>

namespace glint {

/// Input of Sampler::sample.
struct SampleRequest {
  Prompt prompt = {};
  uint64_t seed = 0;                       ///< sample b uses seed + b
  int64_t batch = 1;                       ///< number of samples; ignored if `noise` or `seeds` is given
  std::vector<uint64_t> seeds = {};        ///< one per sample, if not consecutive from `seed`
  std::vector<int64_t> latent_shape = {};  ///< [C,H,W] or [C,F,H,W]; empty = the model's, if fixed
  at::Tensor noise = {};         ///< initial standard normal noise [B,...]; undefined = draw from seed
  Observer* observer = nullptr;  ///< borrowed for the call
  bool keep_trajectory = false;  ///< keep the latents of every level
  /// Measure each step's effective guidance scale; costs 2 N rows ("effective-guidance" in by_stage).
  bool effective_guidance = false;
  bool check_finite = false;  ///< check for NaN and infinity after every step; costs a pass and a sync
};

/// What a run produced and what it cost.
struct GLINT_API SampleResult {
  at::Tensor latents = {};                  ///< [B,...] on the CPU, the sampler's dtype
  std::vector<at::Tensor> trajectory = {};  ///< N+1 tensors [B,...], if requested
  uint64_t seed = 0;
  int steps = 0;
  Usage usage = {};                                        ///< of the whole run
  std::map<std::string, Usage> by_stage = {};              ///< "denoise" plus one entry per strategy that ran
  Reports reports = {};                                    ///< figures reported by strategies
  std::vector<EffectiveGuidance> effective_guidance = {};  ///< one per sample, if requested

  /// Returns the number of function evaluations (NFE): network rows per sample.
  double nfe() const;

  /// Appends another batch of the same run, adding its samples and its cost.
  void append(SampleResult&& batch);
};

}  // namespace glint
