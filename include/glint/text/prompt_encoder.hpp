// Encodes prompts with all text encoders of a model family into its denoiser's conditioning.
#pragma once

#include <glint/export.hpp>
#include <glint/text/prompt_options.hpp>
#include <glint/text/text_encoder.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// What one prompt asks for beside its text.
struct PromptCall {
  std::string_view second = {}, third = {};  ///< for the 2nd and 3rd encoder; empty = the prompt
  int64_t clip_skip = 0;                     ///< layers of CLIP left out
  std::optional<int64_t> text_length = {};   ///< T5's tokens; unset = its tokenizer's
  PictureOrigin origin = {};
};

/// Returns what a run's options ask of its prompts.
GLINT_API PromptCall positive_call(const PromptOptions& options);
/// The same of its negative prompts, for which CLIP skips no layers, as in diffusers' pipelines.
GLINT_API PromptCall negative_call(const PromptOptions& options);

/// Runs a family's text encoders on one prompt and combines their outputs. sdxl: both encoders' tokens
/// concatenated along D, the second pooled embedding, time_ids. sd3: both CLIPs' tokens concatenated along D
/// and zero-padded to T5's D, followed by T5's along L; both pooled embeddings concatenated. flux: T5's
/// tokens, CLIP's pooled embedding. wan: UMT5's tokens. Other families: the output of their single encoder,
/// mask and ids included.
/// Thread:  const calls are safe concurrently.
/// Source:  encode_prompt of these families' diffusers pipelines.
class GLINT_API PromptEncoder {
 public:
  /// `encoders` are text_encoder, text_encoder_2, ..., in that order. `absent` [L,D], unless empty, is the
  /// shape of the zeros that stand for sd3's last one, which it can do without.
  /// Errors:  InvalidArgument if their number does not match the family, or one is null.
  PromptEncoder(std::string family, std::vector<std::shared_ptr<const TextEncoder>> encoders,
                std::vector<int64_t> absent = {});

  /// Returns the conditioning of `prompt`, one row, float32 on the CPU. Its tokenization (ids, unknown and
  /// dropped words) is that of the encoder with the most tokens, which drops the fewest words. What of `call`
  /// the family has no use for has no effect.
  /// Errors:  InvalidArgument, naming the byte offset, if the prompt is not UTF-8; BadModel if the encoders'
  ///          outputs do not fit together; Internal with the engine's message.
  EncodedPrompt encode(std::string_view prompt, const PictureSize& size, const PromptCall& call = {}) const;

  /// Throws if the family or its encoders cannot do what the options ask for.
  /// Errors:  InvalidArgument, naming the option.
  void check(const PromptOptions& options) const;

  /// Returns the components a family needs: text_encoder, text_encoder_2, ...
  static std::vector<std::string> components(std::string_view family);

 private:
  std::string family_;
  std::vector<std::shared_ptr<const TextEncoder>> encoders_;
  std::vector<int64_t> absent_;
};

/// Throws if the family takes no picture's origin, or that of the negative prompt is incomplete.
/// Errors:  InvalidArgument, naming the option.
GLINT_API void check_origins(const PromptOptions& options, std::string_view family);

/// Adds the size inputs of the family's denoiser unless already present: sdxl's time_ids [1,6] = (height,
/// width of the original, top, left of the crop, height, width of the target), each of a picture of `size`
/// unless the origin says another.
GLINT_API Conditioning with_size(Conditioning conditioning, std::string_view family, const PictureSize& size,
                                 const PictureOrigin& origin = {});

}  // namespace glint
