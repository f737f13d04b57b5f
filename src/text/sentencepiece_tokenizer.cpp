#include "io/file.hpp"
#include "text/framed_ids.hpp"
#include "text/unigram_model.hpp"
#include "text/web_text.hpp"

#include <glint/io/utf8.hpp>

namespace glint {

struct SentencePieceTokenizer::Table {
  detail::UnigramModel model;

  void encode(std::string_view text, detail::FramedIds& out) const {
    std::vector<int64_t> ids;
    std::string word;
    const auto flush = [&] {
      if (!ids.empty()) out.add(ids, word);
      ids.clear();
      word.clear();
    };
    for (const auto& token : model.encode(text)) {
      const bool starts = token.text.starts_with(detail::kSpacePiece);
      const auto visible = starts ? token.text.substr(detail::kSpacePiece.size()) : token.text;
      if (starts) flush();
      word += visible;
      ids.push_back(token.id);
      if (token.unknown) out.unknown(visible);
    }
    flush();
  }
};

SentencePieceTokenizer::SentencePieceTokenizer(std::shared_ptr<const Table> table, const TokenFrame& frame)
    : table_(std::move(table)), frame_(frame) {
  detail::check_frame(frame_, 1);
}

SentencePieceTokenizer SentencePieceTokenizer::load(const std::filesystem::path& path,
                                                    const TokenFrame& frame) {
  return parse(detail::FileBytes(path).text(), path.string(), frame);
}

SentencePieceTokenizer SentencePieceTokenizer::parse(std::string_view content, const std::string& where,
                                                     const TokenFrame& frame) {
  return SentencePieceTokenizer(std::make_shared<const Table>(Table{detail::UnigramModel(content, where)}),
                                frame);
}

TokenizedPrompt SentencePieceTokenizer::encode(std::string_view prompt) const {
  if (const auto offset = invalid_utf8_offset(prompt))
    fail(ErrorCode::InvalidArgument, "prompt: not UTF-8 at byte offset {}", *offset);
  const std::string cleaned = frame_.web_text ? detail::clean_web_text(prompt) : std::string(prompt);
  detail::FramedIds out(frame_, false);
  detail::cut_at(
      cleaned, table_->model.special(), [&](std::string_view piece) { table_->encode(piece, out); },
      [&](const detail::AddedToken& token) {
        out.add({&token.id, 1}, token.text);
      });
  return std::move(out).finish();
}

std::shared_ptr<const Tokenizer> SentencePieceTokenizer::with_length(int64_t length) const {
  TokenFrame frame = frame_;
  frame.max_tokens = length;
  return std::make_shared<const SentencePieceTokenizer>(SentencePieceTokenizer(table_, frame));
}

}  // namespace glint
