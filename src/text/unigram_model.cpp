#include "text/unigram_model.hpp"

#include "text/wire_reader.hpp"

#include <cmath>
#include <limits>
#include <optional>

namespace glint::detail {
namespace {

/// Bytes. Published models have pieces of at most some tens; a limit keeps the cost of a prompt linear.
constexpr size_t kLongestPiece = 512;

enum PieceType : uint64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };

size_t character_length(char first) {
  const auto byte = static_cast<uint8_t>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// Decodes the offset in a unit of a darts-clone double array.
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
uint32_t label_of(uint32_t unit) { return unit & ((1u << 31) | 0xFFu); }
bool has_value(uint32_t unit) { return (unit >> 8) & 1u; }
uint32_t value_of(uint32_t unit) { return unit & ((1u << 31) - 1); }

}  // namespace

UnigramModel::UnigramModel(std::string_view bytes, const std::string& where) {
  read_pieces(bytes, where);
  GLINT_CHECK(unknown_ >= 0, BadModel, "{}: not a SentencePiece model: no piece is of type UNKNOWN", where);
  GLINT_CHECK(!pieces_.empty(), BadModel, "{}: not a SentencePiece model: no pieces", where);
  std::sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) { return a.text < b.text; });
}

void UnigramModel::read_pieces(std::string_view bytes, const std::string& where) {
  constexpr uint64_t kUnigram = 1;
  least_ = std::numeric_limits<float>::max();
  most_ = std::numeric_limits<float>::lowest();
  int64_t id = 0;
  for (WireReader reader(bytes, where); !reader.done();) {
    const auto field = reader.next();
    if (field.number == 1) read_piece(field.bytes, id++, where);
    if (field.number == 3) read_normaliser(field.bytes, where);
    if (field.number != 2) continue;
    for (WireReader trainer(field.bytes, where); !trainer.done();) {
      const auto option = trainer.next();
      GLINT_CHECK(option.number != 3 || option.value == kUnigram, BadModel,
                  "{}: expected a unigram model, got SentencePiece's model type {}", where, option.value);
      GLINT_CHECK(option.number != 35 || option.value == 0, BadModel,
                  "{}: models with byte fallback are not supported", where);
      GLINT_CHECK(option.number != 24 || option.value == 0, BadModel,
                  "{}: models with white space as suffix are not supported", where);
    }
  }
}

void UnigramModel::read_piece(std::string_view bytes, int64_t id, const std::string& where) {
  Piece piece{.text = {}, .id = id, .score = 0.0f, .user_defined = false};
  uint64_t type = kNormal;
  for (WireReader reader(bytes, where); !reader.done();) {
    const auto field = reader.next();
    if (field.number == 1) piece.text = std::string(field.bytes);
    if (field.number == 2) piece.score = field.real;
    if (field.number == 3) type = field.value;
  }
  GLINT_CHECK(std::isfinite(piece.score), BadModel, "{}: piece {}: expected a finite score", where, id);
  GLINT_CHECK(!piece.text.empty(), BadModel, "{}: piece {}: expected a text", where, id);
  GLINT_CHECK(piece.text.size() <= kLongestPiece, BadModel, "{}: piece {}: expected at most {} bytes, got {}",
              where, id, kLongestPiece, piece.text.size());
  if (type == kUnknown) unknown_ = id;
  if (type >= kUnknown && type <= kUserDefined) special_.push_back({piece.text, id});
  if (type == kNormal) {
    least_ = std::min(least_, piece.score);
    most_ = std::max(most_, piece.score);
  }
  piece.user_defined = type == kUserDefined;
  if (type == kNormal || type == kUserDefined) pieces_.push_back(std::move(piece));
}

void UnigramModel::read_normaliser(std::string_view bytes, const std::string& where) {
  for (WireReader reader(bytes, where); !reader.done();) {
    const auto field = reader.next();
    if (field.number == 2) read_character_map(field.bytes, where);
    if (field.number == 3) dummy_prefix_ = field.value != 0;
    if (field.number == 4) remove_extra_spaces_ = field.value != 0;
    if (field.number == 5) escape_spaces_ = field.value != 0;
  }
}

/// Layout: the trie's length in bytes, the trie, then the texts its values point into.
void UnigramModel::read_character_map(std::string_view bytes, const std::string& where) {
  if (bytes.empty()) return;
  uint32_t size = 0;
  GLINT_CHECK(bytes.size() > sizeof(size), BadModel, "{}: character map: truncated", where);
  std::memcpy(&size, bytes.data(), sizeof(size));
  bytes.remove_prefix(sizeof(size));
  GLINT_CHECK(size >= sizeof(uint32_t) && size % sizeof(uint32_t) == 0 && size < bytes.size(), BadModel,
              "{}: character map: a trie of {} bytes does not fit into {}", where, size, bytes.size());
  trie_.resize(size / sizeof(uint32_t));
  std::memcpy(trie_.data(), bytes.data(), size);
  replacements_ = std::string(bytes.substr(size));
  GLINT_CHECK(replacements_.back() == '\0', BadModel, "{}: character map: its last text has no end", where);
}

std::pair<std::string_view, size_t> UnigramModel::normalised_front(std::string_view text) const {
  size_t longest = 0, found = 0;
  if (!trie_.empty()) {
    size_t at = offset_of(trie_[0]);
    for (size_t i = 0; i < std::min(text.size(), kLongestPiece); ++i) {
      const auto byte = static_cast<uint8_t>(text[i]);
      at ^= byte;
      if (at >= trie_.size() || label_of(trie_[at]) != byte) break;
      const uint32_t unit = trie_[at];
      at ^= offset_of(unit);
      if (at >= trie_.size()) break;
      if (has_value(unit) && value_of(trie_[at]) < replacements_.size()) {
        longest = i + 1;
        found = value_of(trie_[at]);
      }
    }
  }
  if (longest > 0) return {std::string_view(replacements_.c_str() + found), longest};
  const size_t length = std::min(character_length(text[0]), text.size());
  return {text.substr(0, length), length};
}

std::string UnigramModel::normalised(std::string_view text) const {
  const std::string_view space = escape_spaces_ ? kSpacePiece : " ";
  std::string result;
  bool after_space = remove_extra_spaces_, empty = true;
  while (!text.empty()) {
    auto [front, length] = normalised_front(text);
    text.remove_prefix(length);
    while (after_space && front.starts_with(' ')) front.remove_prefix(1);
    if (front.empty() && after_space) continue;
    if (empty && dummy_prefix_) result += space;
    empty = false;
    for (const char c : front) c == ' ' ? result += space : result += c;
    if (!front.empty()) after_space = remove_extra_spaces_ && front.ends_with(' ');
  }
  while (remove_extra_spaces_ && result.ends_with(space)) result.erase(result.size() - space.size());
  return result;
}

std::vector<UnigramModel::Token> UnigramModel::encode(std::string_view given) const {
  constexpr float kUnknownPenalty = 10.0f, kUserDefinedPenalty = 0.1f;
  const std::string text = normalised(given);
  /// The best segmentation up to a byte.
  struct Path {
    std::optional<size_t> from;
    float score = 0.0f;
    int64_t id = 0;
  };
  std::vector<Path> best(text.size() + 1);
  for (size_t begin = 0; begin < text.size();) {
    const size_t character = std::min(character_length(text[begin]), text.size() - begin);
    const auto offer = [&](size_t end, float score, int64_t id) {
      const float total = score + best[begin].score;
      if (!best[end].from || total > best[end].score) best[end] = {begin, total, id};
    };
    bool single = false;
    auto low = pieces_.begin(), high = pieces_.end();
    for (size_t length = 1; begin + length <= text.size(); ++length) {
      // Narrow the pieces that share the first length - 1 bytes to those that share one more.
      const auto byte = [&](const Piece& piece) {
        return piece.text.size() < length ? -1 : int{static_cast<uint8_t>(piece.text[length - 1])};
      };
      const int wanted = static_cast<uint8_t>(text[begin + length - 1]);
      low = std::partition_point(low, high, [&](const Piece& piece) { return byte(piece) < wanted; });
      high = std::partition_point(low, high, [&](const Piece& piece) { return byte(piece) == wanted; });
      if (low == high) break;
      if (low->text.size() != length) continue;
      offer(begin + length,
            low->user_defined ? static_cast<float>(length) * most_ - kUserDefinedPenalty : low->score,
            low->id);
      single = single || length == character;
    }
    if (!single) offer(begin + character, least_ - kUnknownPenalty, unknown_);
    begin += character;
  }

  std::vector<Token> tokens;
  for (size_t end = text.size(); end > 0;) {
    const int64_t id = best[end].id;
    const bool unknown = id == unknown_;
    size_t begin = *best[end].from;
    while (unknown && begin > 0 && best[begin].id == unknown_) begin = *best[begin].from;
    tokens.push_back({id, text.substr(begin, end - begin), unknown});
    end = begin;
  }
  std::reverse(tokens.begin(), tokens.end());
  return tokens;
}

}  // namespace glint::detail
