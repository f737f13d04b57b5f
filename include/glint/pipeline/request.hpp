// A pipeline's request and result. Plain structs; use designated initialisers.
#pragma once

#include <glint/catalog/method.hpp>
#include <glint/image/image.hpp>
#include <glint/image/video.hpp>
#include <glint/sampling/request.hpp>
#include <glint/text/prompt_options.hpp>
#include <glint/text/tokenizer.hpp>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace glint {

struct GenerateResult;

/// The longest prompt, bytes.
inline constexpr size_t kLongestPrompt = size_t{1} << 16;

/// What to generate. Unset fields take the model's defaults.
struct GenerateRequest {
  std::vector<std::string> prompts = {""};  ///< UTF-8; each makes `count` images or videos
  /// Negative prompt. Replaces the empty prompt, or zero embeddings for families trained with those.
  std::optional<std::string> negative = {};
  PromptOptions text = {};  ///< the other encoders' prompts, clip skip, T5's length, SDXL's sizes
  std::optional<Prompt> conditioning =
      {};  ///< replaces prompts and negative; for models without a text encoder
  std::optional<int> steps = {};
  /// The rule's `scale`, or the input of a guidance-distilled model. A scale up to 1 is off, as in diffusers'
  /// pipelines; the null prompt alone is the rule cfg with a scale of 0. Solvers with scales of their own
  /// keep them.
  std::optional<double> guidance = {};
  std::optional<Choice> solver = {};
  OptionValues schedule = {};  ///< GridOptions by name: spacing, sigmas, rho, shift, ...
  /// At most one rule, attention policy, attention guidance and cache. Filters wrap the rule in list order,
  /// the first innermost; strategies run in list order.
  std::vector<Method> with = {};
  Adapters adapters = {};  ///< scales of the bundle's adapters (LoRA) by name; absent = off
  uint64_t seed = 0;       ///< image k of every prompt uses seed + k
  int64_t count = 1;       ///< images or videos per prompt
  int64_t batch = 8;       ///< samples per batch; affects memory, time and rounding only
  /// Which samples to make, counted over all prompts: `limit` of them from `first`; unset = all that follow.
  /// A sample is the same to the last bit wherever its batch has the same samples.
  int64_t first = 0;
  std::optional<int64_t> limit = {};
  std::optional<int64_t> width = {}, height = {}, frames = {};  ///< px, px, frames
  at::Tensor noise = {};         ///< initial noise [B,C,H,W] or [B,C,F,H,W]; replaces seed, count and size
  Observer* observer = nullptr;  ///< borrowed for the call
  bool keep_trajectory = false;
  bool effective_guidance = false;  ///< measure the effective guidance scale; costs 2 rows per step
  bool decode = true;               ///< false = return latents only
  /// Side of the decoder's tiles, px: a multiple of 4 spatial_scale; 0 = no tiling. Unset = no tiling up to
  /// 2^21 pixels (2^19 per video frame), 1024 px tiles (512 px) beyond. See VaeCall::tile.
  std::optional<int64_t> vae_tile = {};
  /// Let go of the weights of each stage when it ends, so that text encoders, denoiser and decoder are never
  /// in memory together: for all of the bundle's users, and at the cost of loading them in every call. All
  /// batches are sampled before the first picture is decoded. Changes no bit of the result.
  bool free_params_immediately = false;
  /// The observer decodes while the denoiser runs: LoadOptions::memory_limit must have room for both.
  bool previews = false;
  /// Called when an image or video has been decoded, which is then the last one of `so_far`; also set there
  /// are the latents of the samples made so far, solver, rule, guidance, vae_tile and prompts. What it throws
  /// ends the run.
  std::function<void(const GenerateResult& so_far)> on_decoded = {};
};

/// The results, in prompt order, and what they cost.
struct GenerateResult {
  std::vector<Image> images = {};  ///< from image models, one per sample
  std::vector<Video> videos = {};  ///< from video models, one per sample
  int64_t vae_tile = 0;            ///< px; 0 = no tiling
  SampleResult sample = {};        ///< latents of all samples; usage summed over batches
  std::string solver = {};
  std::string rule = {};  ///< empty for a rule made by the program
  double guidance = 1.0;
  std::map<std::string, double> seconds = {};  ///< encode, noise, sample, decode, total
  std::vector<TokenizedPrompt> prompts = {};   ///< including unknown and dropped words
  bool negative_without_effect = false;        ///< one was given, and nothing in the run evaluates it
};

/// Returns the prompt stored in a tensor file: tokens [L,D], optional pooled [P], null_tokens, null_pooled.
/// Errors: BadModel naming the tensor that is missing, unknown or of the wrong rank.
GLINT_API Prompt prompt_from_tensors(const std::map<std::string, at::Tensor>& tensors);

}  // namespace glint
