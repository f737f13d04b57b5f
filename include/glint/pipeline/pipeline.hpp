// One whole request: prompt to pictures through a model bundle.
#pragma once

#include <glint/image/image.hpp>
#include <glint/image/video.hpp>
#include <glint/bundle/bundle.hpp>
#include <glint/catalog/option_values.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/sampling/sampler.hpp>
#include <glint/text/prompt_encoder.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace glint {

/// What to generate. Everything unset is the model's own default.
struct GenerateRequest {
  std::string prompt = {};
  /// Takes the negative prompt's place. Unset is no negative prompt: the empty one, or embeddings of zeros for the families
  /// that were trained so.
  std::optional<std::string> negative = {};
  std::optional<Prompt> conditioning =
      {};  ///< instead of prompt and negative: for models without a text encoder
  std::optional<int> steps = {};
  std::optional<double> guidance = {};  ///< the rule's `scale`, or the input of a guidance-distilled model
  std::optional<Choice> solver = {};
  std::optional<Choice> rule = {};
  std::vector<Choice> filters = {};  ///< around the rule: the first is the innermost
  OptionValues schedule = {};        ///< GridOptions by name: spacing, sigmas, rho, shift, ...
  std::vector<Choice> noise_strategies = {};
  std::vector<Choice> step_strategies = {};
  Adapters adapters = {};  ///< scales of the bundle's adapters (LoRA) by name; those not named are off
  std::optional<Choice> attention = {};  ///< what the denoiser's attention layers do
  uint64_t seed = 0;                     ///< picture k is drawn with seed + k
  int64_t count = 1;
  int64_t batch = 8;  ///< pictures sampled at once; changes memory and time, and pictures by rounding only
  std::optional<int64_t> width = {}, height = {}, frames = {};  ///< px, px, frames
  at::Tensor noise = {};         ///< initial noise [B,C,H,W] or [B,C,F,H,W]; replaces seed, count and size
  Observer* observer = nullptr;  ///< borrowed for the call
  bool keep_trajectory = false;
  bool effective_guidance = false;  ///< measure it; costs 2 rows a step
  bool decode = true;               ///< false: latents only
  /// Side of the tiles in which latents become pixels, px: a multiple of 4 spatial_scale, or 0 for one piece. Unset: one
  /// piece up to 2^21 pixels (frames of a video 2^19), beyond that tiles of 1024 px (512 px). See VaeCall::tile.
  std::optional<int64_t> vae_tile = {};
};

/// What came out, and what it cost.
struct GenerateResult {
  std::vector<Image> images = {};  ///< of a model that makes pictures, one per sample
  std::vector<Video> videos = {};  ///< of a model that makes videos, one per sample
  int64_t vae_tile = 0;            ///< px; 0: decoded in one piece
  SampleResult sample = {};        ///< latents of all pictures; usage summed over batches
  std::string solver = {};
  std::string rule = {};
  double guidance = 1.0;
  std::map<std::string, double> seconds = {};  ///< encode, noise, sample, decode, total
  TokenizedPrompt prompt = {};  ///< with the words the model does not know, and those past its length
};

/// Returns the conditionings in a tensor file's content: tokens [L,D], optional pooled [P], null_tokens, null_pooled.
/// Errors: BadModel naming the tensor that is missing, unknown, or of the wrong rank.
GLINT_API Prompt prompt_from_tensors(const std::map<std::string, at::Tensor>& tensors);

/// A model bundle ready to generate.
/// Thread:  generate() may run on several threads at once; components are loaded when first needed.
class GLINT_API Pipeline {
 public:
  explicit Pipeline(Bundle bundle, Registry registry = builtins());

  const Bundle& bundle() const { return bundle_; }

  /// Loads the components that the request needs, and no others, so that generate() waits for no file.
  /// Errors:  as generate, for options and components.
  void preload(const GenerateRequest& request) const;

  /// Returns pictures for the request.
  /// Errors:  InvalidArgument for options, sizes and names; NotFound for a component the request needs and the bundle
  ///          lacks; those of Sampler and Bundle. Nothing is left changed by a failed or cancelled call.
  GenerateResult generate(const GenerateRequest& request) const;

  /// Returns what the denoiser's attention layers meet in one model call of the request, in the order they run.
  /// Cost:    one row through the network.   Errors: as generate.
  std::vector<AttentionCall> attention_calls(const GenerateRequest& request) const;

  /// Returns the sampler a request would run, for programs that want to drive it themselves.
  Sampler sampler(const GenerateRequest& request) const;

  /// Returns what that sampler is asked for: the encoded prompts, the seed and the latents' shape, for one picture. `words`
  /// gets the prompt's tokens.
  SampleRequest sample_request(const GenerateRequest& request, TokenizedPrompt* words = nullptr) const;

  /// Returns the request's guidance scale, or the default: the solver's, if it has one, or the model's.
  double guidance_scale(const GenerateRequest& request) const;

 private:
  GenerateResult run(const GenerateRequest& request) const;
  Sampler build_sampler(const GenerateRequest& request) const;
  PictureSize picture_size(const GenerateRequest& request) const;
  Prompt encode(const GenerateRequest& request, GenerateResult& result) const;
  int64_t tile_side(const GenerateRequest& request, const std::vector<int64_t>& shape) const;
  void decode(const GenerateRequest& request, const at::Tensor& latents, GenerateResult& result) const;
  Choice rule_choice(const GenerateRequest& request) const;
  std::vector<int64_t> latent_shape(const GenerateRequest& request) const;
  Choice solver_choice(const GenerateRequest& request) const;

  Bundle bundle_;
  Registry registry_;
};

}  // namespace glint
