// Prompts to token ids.
#pragma once

#include <glint/core/enum_names.hpp>
#include <glint/export.hpp>
#include <glint/text/token_frame.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// A prompt as token ids, and what of it the ids do not hold. Whoever shows results should show these lists
/// too.
struct TokenizedPrompt {
  std::vector<int64_t> ids;  ///< Tokenizer::length() of them, padded at the end
  std::vector<std::string>
      unknown;  ///< words the vocabulary lacks, in order, each once; their id is the unknown id
  std::vector<std::string> dropped;  ///< words beyond the length, in order; they have no effect
  int64_t used = 0;                  ///< ids before the padding, those of the frame (begin, end) included
};

/// Thread:  const calls are safe concurrently.
class GLINT_API Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Returns a prompt's ids. The empty prompt is the frame, if the tokenizer has one, and padding.
  /// Errors:  InvalidArgument naming the byte offset if the prompt is not UTF-8.
  virtual TokenizedPrompt encode(std::string_view prompt) const = 0;

  /// Number of ids every prompt gets.
  virtual int64_t length() const = 0;

  /// The id that fills up short prompts.
  virtual int64_t pad() const = 0;
};

/// What a tokenizer's file is.
enum class TokenizerKind {
  Words,         ///< a table of whole words, frame included
  ClipBpe,       ///< CLIP's byte-pair encoding
  SentencePiece  ///< a SentencePiece unigram model
};
template <>
struct EnumNames<TokenizerKind> {
  static constexpr std::array<std::string_view, 3> values{"words", "clip-bpe", "sentencepiece"};
};

/// What a kind of tokenizer is told beside its file. Stated beside the loaders, in src/text/tokenizer.cpp.
struct TokenizerFacts {
  bool framed = false;  ///< a TokenFrame
  bool bos = false;     ///< the frame begins with an id of its own
};
GLINT_API const TokenizerFacts& facts_of(TokenizerKind kind);

/// Returns the tokenizer in a file; `frame` is for kinds that are told one.
/// Errors:  NotFound; BadModel if the file is not of that kind; InvalidArgument for the frame.
GLINT_API std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path,
                                                          TokenizerKind kind, const TokenFrame& frame = {});

/// A table of whole words. ASCII letters are lower-cased; anything but [a-z0-9] separates words.
class GLINT_API WordTokenizer final : public Tokenizer {
 public:
  struct Options {
    std::map<std::string, int64_t, std::less<>> words = {};  ///< word -> id
    int64_t pad = 0;
    int64_t unknown = 1;
    int64_t max_tokens = 16;
  };

  /// Errors:  InvalidArgument for a negative id, max_tokens outside 1..65536, or a word that no prompt can
  ///          contain.
  explicit WordTokenizer(Options options);

  /// Returns the tokenizer in a JSON file {"version": 1, "type": "words", "pad", "unknown", "max_tokens",
  /// "words"}.
  /// Errors:  NotFound if there is no such file; BadModel naming the field if it is malformed.
  static WordTokenizer load(const std::filesystem::path& path);

  TokenizedPrompt encode(std::string_view prompt) const override;
  int64_t length() const override { return options_.max_tokens; }
  int64_t pad() const override { return options_.pad; }

 private:
  Options options_;
};

}  // namespace glint
