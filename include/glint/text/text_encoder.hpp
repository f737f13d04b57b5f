// Encodes prompts into conditionings with one text encoder.
#pragma once

#include <glint/export.hpp>
#include <glint/model/conditioning.hpp>
#include <glint/network/network.hpp>
#include <glint/text/tokenizer.hpp>

#include <memory>
#include <optional>
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
  std::vector<std::string> inputs = {"ids"};  ///< arguments in order: ids, mask, skip
  std::string device = "cpu";                 ///< device of the network: cpu | cuda | cuda:N
  int64_t layers = 0;                         ///< the network's, for `skip`
  bool any_length = true;                     ///< the network takes other lengths than the tokenizer's
};

/// What one prompt asks of an encoder.
struct TextCall {
  int64_t skip = 0;                    ///< layers left out before the one whose output is the prompt's
  std::optional<int64_t> length = {};  ///< tokens; unset = the tokenizer's
};

/// A tokenizer followed by a network that returns tokens [B,L,D] or (tokens, pooled [B,P]).
/// Shapes:  ids [B,L] int64; mask [B,L] int64, 0 for padding, 1 elsewhere; skip [1] int64.
/// Thread:  const calls are safe concurrently.
class GLINT_API TextEncoder {
 public:
  /// Errors:  InvalidArgument if either is null, or for an unknown input name.
  TextEncoder(std::shared_ptr<const Tokenizer> tokenizer, std::shared_ptr<const Network> network,
              TextEncoderOptions options = {});

  /// Returns the conditioning of `prompt`, float32 on the CPU; the empty prompt gives the unconditional one.
  /// Errors:  InvalidArgument, naming the byte offset, if the prompt is not UTF-8, or for a `skip` or length
  ///          that the network does not take; BadModel if the network returns something else; Internal with
  ///          the engine's message.
  EncodedPrompt encode(std::string_view prompt, const TextCall& call = {}) const;

  const Tokenizer& tokenizer() const { return *tokenizer_; }

  /// Throws if the network cannot do what the call asks for.
  /// Errors:  InvalidArgument, naming clip_skip or text_length.
  void check(const TextCall& call) const;

 private:
  EncodedPrompt encoded(std::string_view prompt, const TextCall& call) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const Network> network_;
  TextEncoderOptions options_;
};

}  // namespace glint
