// A resolved request: everything that does not depend on its prompts and seeds.
#pragma once

#include <glint/sampling/sampler.hpp>
#include <glint/text/prompt_encoder.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace glint {

/// The result of Pipeline::resolve. Immutable in use; its sampler may run on several threads at once.
struct Plan {
  Sampler sampler;
  std::vector<int64_t> latent_shape;  ///< per sample, [C,H,W] or [C,F,H,W]
  PictureSize size;                   ///< px
  std::string solver;
  std::string rule;        ///< empty for a rule made by the program
  double guidance = 1.0;   ///< the rule's scale, or the input of a guidance-distilled model
  int64_t vae_tile = 0;    ///< px; 0 = no tiling
  int64_t per_prompt = 1;  ///< images or videos per prompt
  int64_t samples = 1;     ///< images or videos of all prompts
  int64_t end = 1;         ///< the samples to make are those from GenerateRequest::first to before this one
  /// Whether a negative prompt can matter: a rule, the solver or a strategy may evaluate it.
  bool reads_negative = true;
};

}  // namespace glint
