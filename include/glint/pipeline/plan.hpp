// A request, resolved: all that its prompts and seeds do not decide.
#pragma once

#include <glint/sampling/sampler.hpp>
#include <glint/text/prompt_encoder.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace glint {

/// Made by Pipeline::resolve. Immutable in use; a sampler may be called on several threads at once.
struct Plan {
  Sampler sampler;
  std::vector<int64_t> latent_shape;  ///< of one sample, [C,H,W] or [C,F,H,W]
  PictureSize size;                   ///< px
  std::string solver;
  std::string rule;        ///< empty for a rule that the program made itself
  double guidance = 1.0;   ///< the rule's scale, or the input of a guidance-distilled model
  int64_t vae_tile = 0;    ///< px; 0: decoded in one piece
  int64_t per_prompt = 1;  ///< pictures
  int64_t samples = 1;     ///< pictures of all prompts
};

}  // namespace glint
