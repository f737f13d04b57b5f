// Encodes prompts into conditionings with one text encoder.
#pragma once

#include <glint/export.hpp>
#include <glint/model/conditioning.hpp>
#include <glint/network/network.hpp>
#include <glint/text/tokenizer.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// A prompt's conditioning and tokenization, including the words it lost.
struct EncodedPrompt {
  Conditioning conditioning;  ///< one row: tokens [1,L,D], pooled [1,P] if any, mask [1,L]
  TokenizedPrompt tokenized;
};

/// How to call a text encoder's network.
struct TextEncoderOptions {
  std::vector<std::string> inputs = {"ids"};  ///< arguments in order: ids, mask
  std::string device = "cpu";                 ///< device of the network: cpu | cuda | cuda:N
};

/// A tokenizer followed by a network that returns tokens [B,L,D] or (tokens, pooled [B,P]).
/// Shapes:  ids [B,L] int64; mask [B,L] int64, 0 for padding, 1 elsewhere.
/// Thread:  const calls are safe concurrently.
class GLINT_API TextEncoder {
 public:
  /// Errors:  InvalidArgument if either is null, or for an unknown input name.
  TextEncoder(std::shared_ptr<const Tokenizer> tokenizer, std::shared_ptr<const Network> network,
              TextEncoderOptions options = {});

  /// Returns the conditioning of `prompt`, float32 on the CPU; the empty prompt gives the unconditional one.
  /// Errors:  InvalidArgument, naming the byte offset, if the prompt is not UTF-8; BadModel if the network
  ///          returns something else; Internal with the engine's message.
  EncodedPrompt encode(std::string_view prompt) const;

  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  EncodedPrompt encoded(std::string_view prompt) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const Network> network_;
  TextEncoderOptions options_;
};

}  // namespace glint
