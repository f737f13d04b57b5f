// Splits prompts at added tokens, texts that are a single token wherever they occur.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace glint::detail {

struct AddedToken {
  std::string text;
  int64_t id = 0;
};

/// Splits `text` at the tokens, leftmost and longest first; calls `piece(text)` for the text in between and
/// `token(token)` for each token, in order.
/// Cost:    length times the number of tokens.
template <typename Piece, typename Token>
void cut_at(std::string_view text, const std::vector<AddedToken>& tokens, Piece&& piece, Token&& token) {
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const AddedToken* longest = nullptr;
    for (const auto& one : tokens)
      if (!one.text.empty() && text[at] == one.text[0] && text.substr(at).starts_with(one.text) &&
          (!longest || one.text.size() > longest->text.size()))
        longest = &one;
    if (!longest) {
      ++at;
      continue;
    }
    if (at > begin) piece(text.substr(begin, at - begin));
    token(*longest);
    begin = at += longest->text.size();
  }
  if (begin < text.size()) piece(text.substr(begin));
}

}  // namespace glint::detail
