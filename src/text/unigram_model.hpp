// SentencePiece unigram models: normalisation and the best segmentation into pieces.
#pragma once

#include "text/added_tokens.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace glint::detail {

/// How SentencePiece writes a space.
inline constexpr std::string_view kSpacePiece = "\u2581";

/// A model written by `spm_train --model_type=unigram`. Implemented here because Debian's libsentencepiece
/// exports a variable that libtorch exports too, FLAGS_minloglevel, with another size: in one process the two
/// overwrite each other's memory.
/// Source:  Kudo, arXiv:1804.10959; results match github.com/google/sentencepiece.
class UnigramModel {
 public:
  /// Errors:  BadModel, starting with `where`, if the bytes are not such a model or of an unsupported kind.
  UnigramModel(std::string_view bytes, const std::string& where);

  struct Token {
    int64_t id;
    std::string text;
    bool unknown;
  };

  /// Returns the most probable pieces of valid UTF-8. Adjacent unknown characters form one token.
  /// Cost:  bytes times the length of the longest matching piece, times log(pieces).
  std::vector<Token> encode(std::string_view text) const;

  /// Returns the pieces to split off a text before anything else.
  const std::vector<AddedToken>& special() const { return special_; }

 private:
  struct Piece {
    std::string text;
    int64_t id;
    float score;
    bool user_defined;
  };

  void read_pieces(std::string_view bytes, const std::string& where);
  void read_piece(std::string_view bytes, int64_t id, const std::string& where);
  void read_normaliser(std::string_view bytes, const std::string& where);
  void read_character_map(std::string_view bytes, const std::string& where);

  /// Returns the normalised front of `text` and the number of bytes it consumes.
  std::pair<std::string_view, size_t> normalised_front(std::string_view text) const;
  std::string normalised(std::string_view text) const;

  std::vector<Piece> pieces_;  ///< those that match text, sorted by text
  std::vector<AddedToken> special_;
  int64_t unknown_ = -1;
  float least_ = 0.0f, most_ = 0.0f;  ///< scores
  std::vector<uint32_t> trie_;        ///< the normaliser's double array
  std::string replacements_;          ///< zero-terminated texts
  bool dummy_prefix_ = true, remove_extra_spaces_ = true, escape_spaces_ = true;
};

}  // namespace glint::detail
