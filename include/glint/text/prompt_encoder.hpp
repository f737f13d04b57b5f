// Prompts to what a family's denoiser is conditioned on, through all of the family's text encoders.
#pragma once

#include <glint/export.hpp>
#include <glint/text/text_encoder.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// Size of the picture to make, px.
struct PictureSize {
  int64_t height = 0;
  int64_t width = 0;
};

/// The text encoders of a family, and how it puts their outputs together. All of them get the same prompt.
/// sdxl: both tokens joined along D, the second pooled embedding, time_ids. sd3: both CLIPs' tokens joined
/// along D and filled up with zeros to T5's D, then T5's behind them along L; both pooled embeddings joined.
/// flux: T5's tokens, CLIP's pooled embedding. wan: UMT5's tokens. Any other family: what its one encoder
/// gives, mask and ids included.
/// Thread:  const calls are safe concurrently.
/// Source:  encode_prompt of diffusers' pipelines of these families.
class GLINT_API PromptEncoder {
 public:
  /// `encoders` are text_encoder, text_encoder_2, ... in this order.
  /// Errors:  InvalidArgument if the family has another number of encoders, or one is null.
  PromptEncoder(std::string family, std::vector<std::shared_ptr<const TextEncoder>> encoders);

  /// Returns the conditioning of `prompt`, one row, float32 on the CPU. What is told of the prompt itself
  /// (ids, unknown and dropped words) is what the encoder with the most tokens says, which drops the least.
  /// Errors:  InvalidArgument naming the byte offset if the prompt is not UTF-8; BadModel if the encoders'
  ///          outputs do not fit together; Internal with the engine's message.
  EncodedPrompt encode(std::string_view prompt, const PictureSize& size) const;

  /// Returns the components it takes: text_encoder, text_encoder_2, ...
  static std::vector<std::string> components(std::string_view family);

 private:
  std::string family_;
  std::vector<std::shared_ptr<const TextEncoder>> encoders_;
};

/// Returns `conditioning` with what the family's denoiser is told of the picture's size, unless it is there
/// already: sdxl's time_ids [1,6] = (height, width, 0, 0, height, width).
GLINT_API Conditioning with_size(Conditioning conditioning, std::string_view family, const PictureSize& size);

}  // namespace glint
