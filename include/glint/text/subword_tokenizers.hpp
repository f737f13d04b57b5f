// The tokenizers of the published model families: byte-pair encoding of CLIP, SentencePiece of T5 and UMT5.
#pragma once

#include <glint/text/tokenizer.hpp>

#include <memory>
#include <utility>

namespace glint {

/// Byte-level BPE with an end-of-word suffix. Ids are those of transformers' CLIPTokenizer.
/// Source:  Sennrich et al., arXiv:1508.07909; Radford et al., GPT-2 (bytes) and CLIP, arXiv:2103.00020
///          (words).
/// Deviations: character classes are Unicode 15's, by utf8proc; letters added to Unicode later count as
///             symbols.
class GLINT_API ClipTokenizer final : public Tokenizer {
 public:
  /// Returns the tokenizer in a JSON file {"version": 1, "type": "clip-bpe", "vocabulary", "merges",
  /// "unknown", "suffix", "added"}; docs/exporting.md describes it.
  /// Errors:  NotFound; BadModel naming the field if it is malformed or a merge's parts or result are not in
  ///          the vocabulary; InvalidArgument if the frame leaves no room or has a negative id.
  static ClipTokenizer load(const std::filesystem::path& path, const TokenFrame& frame);

  TokenizedPrompt encode(std::string_view prompt) const override;
  int64_t length() const override { return frame_.max_tokens; }
  int64_t pad() const override { return frame_.pad; }

 private:
  struct Table;
  ClipTokenizer(std::shared_ptr<const Table> table, const TokenFrame& frame);

  std::shared_ptr<const Table> table_;
  TokenFrame frame_;
};

/// A SentencePiece unigram model: the tokenizer of T5 and UMT5.
/// Source:  Kudo, arXiv:1804.10959; results are those of the library sentencepiece.
/// Deviations: models with byte fallback, or with white space as suffix, are refused.
class GLINT_API SentencePieceTokenizer final : public Tokenizer {
 public:
  /// Returns the tokenizer in a serialised SentencePiece model.
  /// Errors:  NotFound; BadModel if the file is damaged; InvalidArgument as for ClipTokenizer.
  static SentencePieceTokenizer load(const std::filesystem::path& path, const TokenFrame& frame);

  TokenizedPrompt encode(std::string_view prompt) const override;
  int64_t length() const override { return frame_.max_tokens; }
  int64_t pad() const override { return frame_.pad; }

 private:
  struct Table;
  SentencePieceTokenizer(std::shared_ptr<const Table> table, const TokenFrame& frame);

  std::shared_ptr<const Table> table_;
  TokenFrame frame_;
};

}  // namespace glint
