// Tokenizers: prompts to token ids.
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

/// A prompt's token ids and the words they lost, which user interfaces should show with the results.
struct TokenizedPrompt {
  std::vector<int64_t> ids;  ///< Tokenizer::length() ids, padded at the end
  std::vector<std::string>
      unknown;  ///< words not in the vocabulary, in order, each once; encoded as the unknown id
  std::vector<std::string> dropped;  ///< words past the maximum length, in order; they have no effect
  int64_t used = 0;                  ///< ids before the padding, including the frame (start, end)
};

/// Turns prompts into token ids.
/// Thread:  const calls are safe concurrently.
class GLINT_API Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Returns a prompt's ids; for the empty prompt, the frame (if any) and padding.
  /// Errors:  InvalidArgument, naming the byte offset, if the prompt is not UTF-8.
  virtual TokenizedPrompt encode(std::string_view prompt) const = 0;

  /// Returns the number of ids every prompt is padded or cut to.
  virtual int64_t length() const = 0;

  /// Returns this tokenizer with another length.
  /// Errors:  InvalidArgument if its kind or `length` does not allow it.
  virtual std::shared_ptr<const Tokenizer> with_length(int64_t length) const;

  /// Returns the id that pads short prompts.
  virtual int64_t pad() const = 0;
};

/// The kind of a tokenizer's file.
enum class TokenizerKind {
  Words,         ///< a table of whole words, frame included
  ClipBpe,       ///< CLIP's byte-pair encoding
  SentencePiece  ///< a SentencePiece unigram model
};
template <>
struct EnumNames<TokenizerKind> {
  static constexpr std::array<std::string_view, 3> values{"words", "clip-bpe", "sentencepiece"};
};

/// What a kind of tokenizer needs besides its file. Defined next to the loaders in src/text/tokenizer.cpp.
struct TokenizerFacts {
  bool framed = false;  ///< takes a TokenFrame
  bool bos = false;     ///< the frame has a start id
};
GLINT_API const TokenizerFacts& facts_of(TokenizerKind kind);

/// Loads a tokenizer; `frame` is for kinds that take one.
/// Errors:  NotFound; BadModel if the file is not of that kind; InvalidArgument for a bad frame.
GLINT_API std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path,
                                                          TokenizerKind kind, const TokenFrame& frame = {});

/// Same for a file's content. Error messages start with `where`.
GLINT_API std::shared_ptr<const Tokenizer> parse_tokenizer(std::string_view content, const std::string& where,
                                                           TokenizerKind kind, const TokenFrame& frame = {});

/// Looks up whole words in a table. A word is a run of Unicode letters, digits and combining marks, in lower
/// case and normalization form C. Runs of other symbols outside ASCII, such as emoji, are words too, so that
/// none is lost without being reported; everything else separates words.
class GLINT_API WordTokenizer final : public Tokenizer {
 public:
  struct Options {
    std::map<std::string, int64_t, std::less<>> words = {};  ///< word -> id
    int64_t pad = 0;
    int64_t unknown = 1;
    int64_t max_tokens = 16;
  };

  /// Errors:  InvalidArgument for a negative id, max_tokens outside 1 to 65536, or a word no prompt can
  ///          contain.
  explicit WordTokenizer(Options options);

  /// Loads a JSON file {"version": 1, "type": "words", "pad", "unknown", "max_tokens", "words"}.
  /// Errors:  NotFound if there is no such file; BadModel, naming the field, if it is malformed.
  static WordTokenizer load(const std::filesystem::path& path);
  /// Same for a file's content. Error messages start with `where`.
  static WordTokenizer parse(std::string_view content, const std::string& where);

  TokenizedPrompt encode(std::string_view prompt) const override;
  int64_t length() const override { return options_.max_tokens; }
  int64_t pad() const override { return options_.pad; }

 private:
  Options options_;
};

}  // namespace glint
