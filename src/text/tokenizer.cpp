#include <glint/core/error.hpp>
#include <glint/text/subword_tokenizers.hpp>

namespace glint {
namespace {

using Loaded = std::shared_ptr<const Tokenizer>;

Loaded load_words(const std::filesystem::path& path, const TokenFrame&) {
  return std::make_shared<const WordTokenizer>(WordTokenizer::load(path));
}

template <typename T>
Loaded load_framed(const std::filesystem::path& path, const TokenFrame& frame) {
  return std::make_shared<const T>(T::load(path, frame));
}

/// A kind of tokenizer. To add one, write its file and add an enumerator and a row here.
struct Entry {
  TokenizerKind kind;
  Loaded (*load)(const std::filesystem::path&, const TokenFrame&);
  TokenizerFacts facts;
};
constexpr std::array kEntries{
    Entry{TokenizerKind::Words, load_words, {}},
    Entry{TokenizerKind::ClipBpe, load_framed<ClipTokenizer>, {.framed = true, .bos = true}},
    Entry{TokenizerKind::SentencePiece, load_framed<SentencePieceTokenizer>, {.framed = true}},
};
static_assert(kEntries.size() == EnumNames<TokenizerKind>::values.size());

const Entry& entry_of(TokenizerKind kind) {
  for (const Entry& entry : kEntries)
    if (entry.kind == kind) return entry;
  fail(ErrorCode::InvalidArgument, "tokenizer: there is no kind of number {}", static_cast<int>(kind));
}

}  // namespace

const TokenizerFacts& facts_of(TokenizerKind kind) { return entry_of(kind).facts; }

Loaded load_tokenizer(const std::filesystem::path& path, TokenizerKind kind, const TokenFrame& frame) {
  return entry_of(kind).load(path, frame);
}

}  // namespace glint
