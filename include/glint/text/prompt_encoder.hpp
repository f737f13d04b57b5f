// Encodes prompts with all text encoders of a model family into its denoiser's conditioning.
#pragma once

#include <glint/export.hpp>
#include <glint/text/text_encoder.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// Size of the image to generate, px.
struct PictureSize {
  int64_t height = 0;
  int64_t width = 0;
};

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
  /// dropped words) is that of the encoder with the most tokens, which drops the fewest words.
  /// Errors:  InvalidArgument, naming the byte offset, if the prompt is not UTF-8; BadModel if the encoders'
  ///          outputs do not fit together; Internal with the engine's message.
  EncodedPrompt encode(std::string_view prompt, const PictureSize& size) const;

  /// Returns the components a family needs: text_encoder, text_encoder_2, ...
  static std::vector<std::string> components(std::string_view family);

 private:
  std::string family_;
  std::vector<std::shared_ptr<const TextEncoder>> encoders_;
  std::vector<int64_t> absent_;
};

/// Adds the size inputs of the family's denoiser unless already present: sdxl's time_ids [1,6] = (height,
/// width, 0, 0, height, width).
GLINT_API Conditioning with_size(Conditioning conditioning, std::string_view family, const PictureSize& size);

}  // namespace glint
