// What a pipeline is asked for, and what it gives back. Plain options; use designated initialisers.
#pragma once

#include <glint/catalog/method.hpp>
#include <glint/image/image.hpp>
#include <glint/image/video.hpp>
#include <glint/sampling/request.hpp>
#include <glint/text/tokenizer.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace glint {

/// What to generate. Everything unset is the model's own default.
struct GenerateRequest {
  std::vector<std::string> prompts = {""};  ///< `count` pictures each
  /// Takes the place of the empty prompt, or, for the families that were trained so, of embeddings of zeros.
  std::optional<std::string> negative = {};
  std::optional<Prompt> conditioning =
      {};  ///< instead of prompts and negative: for models without a text encoder
  std::optional<int> steps = {};
  std::optional<double> guidance = {};  ///< the rule's `scale`, or the input of a guidance-distilled model
  std::optional<Choice> solver = {};
  OptionValues schedule = {};  ///< GridOptions by name: spacing, sigmas, rho, shift, ...
  /// At most one rule and one attention policy; filters apply in this order, the first innermost, and
  /// strategies too.
  std::vector<Method> with = {};
  Adapters adapters = {};  ///< scales of the bundle's adapters (LoRA) by name; those not named are off
  uint64_t seed = 0;       ///< picture k of every prompt is drawn with seed + k
  int64_t count = 1;       ///< pictures per prompt
  int64_t batch = 8;  ///< pictures sampled at once; changes memory and time, and pictures by rounding only
  std::optional<int64_t> width = {}, height = {}, frames = {};  ///< px, px, frames
  at::Tensor noise = {};         ///< initial noise [B,C,H,W] or [B,C,F,H,W]; replaces seed, count and size
  Observer* observer = nullptr;  ///< borrowed for the call
  bool keep_trajectory = false;
  bool effective_guidance = false;  ///< measure it; costs 2 rows a step
  bool decode = true;               ///< false: latents only
  /// Side of the tiles in which latents become pixels, px: a multiple of 4 spatial_scale, or 0 for one piece.
  /// Unset: one piece up to 2^21 pixels (frames of a video 2^19), beyond that tiles of 1024 px (512 px). See
  /// VaeCall::tile.
  std::optional<int64_t> vae_tile = {};
};

/// What came out, in the order of the prompts, and what it cost.
struct GenerateResult {
  std::vector<Image> images = {};  ///< of a model that makes pictures, one per sample
  std::vector<Video> videos = {};  ///< of a model that makes videos, one per sample
  int64_t vae_tile = 0;            ///< px; 0: decoded in one piece
  SampleResult sample = {};        ///< latents of all pictures; usage summed over batches
  std::string solver = {};
  std::string rule = {};  ///< its name; empty for a rule that the program made itself
  double guidance = 1.0;
  std::map<std::string, double> seconds = {};  ///< encode, noise, sample, decode, total
  std::vector<TokenizedPrompt> prompts =
      {};  ///< with words the model does not know, and those past its length
};

/// Returns the conditionings in a tensor file's content: tokens [L,D], optional pooled [P], null_tokens,
/// null_pooled.
/// Errors: BadModel naming the tensor that is missing, unknown, or of the wrong rank.
GLINT_API Prompt prompt_from_tensors(const std::map<std::string, at::Tensor>& tensors);

}  // namespace glint
