// What a sampler is asked for, and what it gives back. Plain options; use designated initialisers.
#pragma once

#include <glint/export.hpp>
#include <glint/sampling/guidance_meter.hpp>
#include <glint/sampling/observer.hpp>

#include <map>
#include <string>
#include <vector>

namespace glint {

/// One call of Sampler::sample.
struct SampleRequest {
  Prompt prompt = {};
  uint64_t seed = 0;                       ///< sample b is drawn with seed + b
  int64_t batch = 1;                       ///< samples; ignored when `noise` or `seeds` is given
  std::vector<uint64_t> seeds = {};        ///< one per sample, where they do not count up from `seed`
  std::vector<int64_t> latent_shape = {};  ///< [C,H,W] or [C,F,H,W]; empty = the model's own, if it is fixed
  at::Tensor noise = {};         ///< initial standard normal noise [B,...]; undefined = drawn from seed
  Observer* observer = nullptr;  ///< borrowed for the call
  bool keep_trajectory = false;  ///< keep the latents of every level
  /// Measure each step's effective guidance scale. Costs 2 N rows ("effective-guidance" in by_stage).
  bool effective_guidance = false;
  bool check_finite = false;  ///< look for NaN and infinity after every step; costs a pass and a sync
};

/// What a run produced and what it cost.
struct GLINT_API SampleResult {
  at::Tensor latents = {};                  ///< [B,...] on the CPU, the sampler's dtype
  std::vector<at::Tensor> trajectory = {};  ///< N+1 tensors [B,...], if asked for
  uint64_t seed = 0;
  int steps = 0;
  Usage usage = {};                            ///< of the whole run
  std::map<std::string, Usage> by_stage = {};  ///< "denoise" and one entry per strategy that did anything
  Reports reports = {};                        ///< what strategies found out
  std::vector<EffectiveGuidance> effective_guidance = {};  ///< one per sample, if asked for

  /// Returns network evaluations per sample: samples through the network once.
  double nfe() const;

  /// Appends another batch of the same run: its samples, and what they cost.
  void append(SampleResult&& batch);
};

}  // namespace glint
