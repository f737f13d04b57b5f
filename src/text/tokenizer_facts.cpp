#include <glint/core/error.hpp>
#include <glint/text/tokenizer.hpp>

namespace glint {
namespace {

/// What a kind of tokenizer needs. To add one, add a row here and one in tokenizer.cpp.
struct FactsRow {
  TokenizerKind kind;
  TokenizerFacts facts;
};
constexpr std::array kFactsRows{
    FactsRow{TokenizerKind::Words, {}},
    FactsRow{TokenizerKind::ClipBpe, {.framed = true, .bos = true}},
    FactsRow{TokenizerKind::SentencePiece, {.framed = true}},
};
static_assert(kFactsRows.size() == EnumNames<TokenizerKind>::values.size());

}  // namespace

const TokenizerFacts& facts_of(TokenizerKind kind) {
  for (const FactsRow& row : kFactsRows)
    if (row.kind == kind) return row.facts;
  fail(ErrorCode::InvalidArgument, "tokenizer: there is no kind of number {}", static_cast<int>(kind));
}

}  // namespace glint
