#include "core/boundary.hpp"
#include "io/file.hpp"

#include <glint/core/error.hpp>
#include <glint/text/subword_tokenizers.hpp>

namespace glint {
namespace {

using Loaded = std::shared_ptr<const Tokenizer>;

Loaded parse_words(std::string_view content, const std::string& where, const TokenFrame&) {
  return std::make_shared<const WordTokenizer>(WordTokenizer::parse(content, where));
}

template <typename T>
Loaded parse_framed(std::string_view content, const std::string& where, const TokenFrame& frame) {
  return std::make_shared<const T>(T::parse(content, where, frame));
}

/// A kind of tokenizer. To add one, write its file and add an enumerator, a row here
/// and one in tokenizer_facts.cpp.
struct Entry {
  TokenizerKind kind;
  Loaded (*parse)(std::string_view, const std::string&, const TokenFrame&);
};
constexpr std::array kEntries{
    Entry{TokenizerKind::Words, parse_words},
    Entry{TokenizerKind::ClipBpe, parse_framed<ClipTokenizer>},
    Entry{TokenizerKind::SentencePiece, parse_framed<SentencePieceTokenizer>},
};
static_assert(kEntries.size() == EnumNames<TokenizerKind>::values.size());

const Entry& entry_of(TokenizerKind kind) {
  for (const Entry& entry : kEntries)
    if (entry.kind == kind) return entry;
  fail(ErrorCode::InvalidArgument, "tokenizer: there is no kind of number {}", static_cast<int>(kind));
}

}  // namespace

Loaded load_tokenizer(const std::filesystem::path& path, TokenizerKind kind, const TokenFrame& frame) {
  entry_of(kind);  // an unknown kind is refused before the file is looked for
  return parse_tokenizer(detail::FileBytes(path).text(), path.string(), kind, frame);
}

Loaded parse_tokenizer(std::string_view content, const std::string& where, TokenizerKind kind,
                       const TokenFrame& frame) {
  return detail::at_boundary(ErrorCode::BadModel, where,
                             [&] { return entry_of(kind).parse(content, where, frame); });
}

std::shared_ptr<const Tokenizer> Tokenizer::with_length(int64_t length) const {
  fail(ErrorCode::InvalidArgument, "text_length: a tokenizer of this kind always has {} tokens, not {}",
       this->length(), length);
}

}  // namespace glint
