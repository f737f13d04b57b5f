// The subword tokenizers of published models: CLIP's byte-pair encoding, and SentencePiece for T5 and UMT5.
#pragma once

#include <glint/text/tokenizer.hpp>

#include <memory>
#include <utility>

namespace glint {

/// Byte-level BPE with an end-of-word suffix. Ids match transformers' CLIPTokenizer.
/// Source:  Sennrich et al., arXiv:1508.07909; Radford et al., GPT-2 (bytes) and CLIP, arXiv:2103.00020
///          (words).
/// Deviations: character classes are Unicode 15's, from utf8proc; letters added to Unicode later count as
///             symbols.
class GLINT_API ClipTokenizer final : public Tokenizer {
 public:
  /// Loads a JSON file {"version": 1, "type": "clip-bpe", "vocabulary", "merges", "unknown", "suffix",
  /// "added"}; docs/exporting.md describes the format.
  /// Errors:  NotFound; BadModel, naming the field, if it is malformed or a merge's parts or result are not
  ///          in the vocabulary; InvalidArgument if the frame leaves no room or has a negative id.
  static ClipTokenizer load(const std::filesystem::path& path, const TokenFrame& frame);
  /// Same for a file's content. Error messages start with `where`.
  static ClipTokenizer parse(std::string_view content, const std::string& where, const TokenFrame& frame);

  TokenizedPrompt encode(std::string_view prompt) const override;
  int64_t length() const override { return frame_.max_tokens; }
  std::shared_ptr<const Tokenizer> with_length(int64_t length) const override;
  int64_t pad() const override { return frame_.pad; }

 private:
  struct Table;
  ClipTokenizer(std::shared_ptr<const Table> table, const TokenFrame& frame);

  std::shared_ptr<const Table> table_;
  TokenFrame frame_;
};

/// A SentencePiece unigram model, the tokenizer of T5 and UMT5.
/// Source:  Kudo, arXiv:1804.10959; results match the sentencepiece library.
/// Deviations: rejects models with byte fallback or with white space as a suffix.
class GLINT_API SentencePieceTokenizer final : public Tokenizer {
 public:
  /// Loads a serialised SentencePiece model.
  /// Errors:  NotFound; BadModel if the file is corrupt; InvalidArgument as for ClipTokenizer.
  static SentencePieceTokenizer load(const std::filesystem::path& path, const TokenFrame& frame);
  /// Same for a file's content. Error messages start with `where`.
  static SentencePieceTokenizer parse(std::string_view content, const std::string& where,
                                      const TokenFrame& frame);

  TokenizedPrompt encode(std::string_view prompt) const override;
  int64_t length() const override { return frame_.max_tokens; }
  std::shared_ptr<const Tokenizer> with_length(int64_t length) const override;
  int64_t pad() const override { return frame_.pad; }

 private:
  struct Table;
  SentencePieceTokenizer(std::shared_ptr<const Table> table, const TokenFrame& frame);

  std::shared_ptr<const Table> table_;
  TokenFrame frame_;
};

}  // namespace glint
