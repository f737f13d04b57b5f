#include "io/file.hpp"
#include "io/json_fields.hpp"
#include "text/added_tokens.hpp"
#include "text/framed_ids.hpp"
#include "text/unicode.hpp"
#include "text/web_text.hpp"

#include <glint/io/utf8.hpp>

#include <array>
#include <queue>
#include <tuple>
#include <unordered_map>

namespace glint {
namespace {

using detail::AddedToken;

constexpr std::array kType{enum_name(TokenizerKind::ClipBpe)};

/// Returns GPT-2's printable stand-ins for bytes, as UTF-8: printable Latin-1 maps to itself, the rest to
/// U+0100 and up.
std::array<std::string, 256> byte_symbols() {
  std::array<std::string, 256> symbols;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
    symbols[byte] = detail::to_utf8(std::u32string(1, printable ? byte : next++));
  }
  return symbols;
}

/// Applies NFC, collapses white space, then lower-cases, in this order.
std::u32string normalized(std::string_view text) {
  std::u32string spaced;
  for (const char32_t point : detail::composed(detail::code_points(text))) {
    if (!detail::is_space(point))
      spaced += point;
    else if (spaced.empty() || spaced.back() != U' ')
      spaced += U' ';
  }
  return detail::lower_case(spaced);
}

/// Returns the lengths of the symbol runs at the front of `rest`, which has no leading space. The reference
/// matches
/// <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+
/// and then splits its matches with GPT-2's own expression, which affects only the first two.
std::vector<size_t> run_lengths(std::u32string_view rest) {
  constexpr size_t kBracket = 2;  // "<|" and "|>"
  for (const std::u32string_view special : {U"<|startoftext|>", U"<|endoftext|>"})
    if (rest.starts_with(special)) return {kBracket, special.size() - 2 * kBracket, kBracket};
  for (const std::u32string_view fixed : {U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"})
    if (rest.starts_with(fixed)) return {fixed.size()};
  if (detail::is_number(rest[0])) return {1};
  const bool letters = detail::is_letter(rest[0]);
  size_t length = 1;
  while (length < rest.size() && detail::is_letter(rest[length]) == letters &&
         !detail::is_number(rest[length]))
    ++length;
  return {length};
}

uint64_t pair_key(int64_t left, int64_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right);
}

struct Merge {
  size_t rank = 0;
  int64_t result = 0;
};
using Merges = std::unordered_map<uint64_t, Merge>;

/// Merges adjacent pairs, lowest rank first, leftmost among equals, until no pair has a rank.
/// Cost:    n log n.
std::vector<int64_t> merged(std::vector<int64_t> ids, const Merges& merges) {
  constexpr int64_t kGone = -1;
  struct Candidate {
    size_t rank, left, right;
    uint64_t key;
    bool operator<(const Candidate& other) const {
      return std::tie(other.rank, other.left) < std::tie(rank, left);
    }
  };
  const size_t count = ids.size();
  std::vector<size_t> next(count), before(count);
  std::priority_queue<Candidate> queue;
  const auto offer = [&](size_t left, size_t right) {
    const uint64_t key = pair_key(ids[left], ids[right]);
    if (const auto merge = merges.find(key); merge != merges.end())
      queue.push({merge->second.rank, left, right, key});
  };
  for (size_t i = 0; i < count; ++i) {
    next[i] = i + 1;
    before[i] = i - 1;  // wraps for the first, which is never followed
    if (i + 1 < count) offer(i, i + 1);
  }
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    const bool stale = ids[best.left] == kGone || next[best.left] != best.right ||
                       pair_key(ids[best.left], ids[best.right]) != best.key;
    if (stale) continue;
    ids[best.left] = merges.at(best.key).result;
    ids[best.right] = kGone;
    next[best.left] = next[best.right];
    if (next[best.left] < count) {
      before[next[best.left]] = best.left;
      offer(best.left, next[best.left]);
    }
    if (best.left > 0) offer(before[best.left], best.left);
  }
  std::erase(ids, kGone);
  return ids;
}

}  // namespace

struct ClipTokenizer::Table {
  std::unordered_map<std::string, int64_t> vocabulary;
  Merges merges;
  int64_t unknown = 0;
  std::string suffix;
  std::vector<AddedToken> added, added_normalized;
  std::array<std::string, 256> symbols = byte_symbols();

  int64_t id(const std::string& symbol) const {
    const auto found = vocabulary.find(symbol);
    return found == vocabulary.end() ? unknown : found->second;
  }

  std::vector<int64_t> ids_of_run(const std::string& run) const {
    std::vector<int64_t> ids;
    for (size_t i = 0; i < run.size(); ++i) {
      const auto& symbol = symbols[static_cast<uint8_t>(run[i])];
      ids.push_back(id(i + 1 == run.size() ? symbol + suffix : symbol));
    }
    return merged(std::move(ids), merges);
  }

  /// Encodes normalized text between added tokens, word by word.
  void encode(std::u32string_view text, detail::FramedIds& out) const {
    for (size_t at = 0; at < text.size();) {
      if (detail::is_space(text[at])) {
        ++at;
        continue;
      }
      size_t end = at;
      while (end < text.size() && !detail::is_space(text[end])) ++end;
      const auto word = text.substr(at, end - at);
      std::vector<int64_t> ids;
      for (size_t done = 0; done < word.size();) {
        for (const size_t length : run_lengths(word.substr(done))) {
          const auto part = ids_of_run(detail::to_utf8(word.substr(done, length)));
          ids.insert(ids.end(), part.begin(), part.end());
          done += length;
        }
      }
      out.add(ids, detail::to_utf8(word));
      at = end;
    }
  }
};

namespace {

void read_vocabulary(detail::FieldReader& reader, std::unordered_map<std::string, int64_t>& vocabulary) {
  const auto* entries = reader.find("vocabulary");
  GLINT_CHECK(entries && entries->is_object() && !entries->empty(), BadModel,
              "{}: expected an object with an id for each token", reader.place("vocabulary"));
  for (const auto& [token, value] : entries->items()) {
    const std::string place = reader.place("vocabulary." + token);
    int64_t id = 0;
    detail::read_value(value, place, id);
    GLINT_CHECK(id >= 0, BadModel, "{}: expected an id of at least 0, got {}", place, id);
    vocabulary.emplace(token, id);
  }
}

void read_merges(detail::FieldReader& reader, const std::unordered_map<std::string, int64_t>& vocabulary,
                 Merges& merges) {
  const auto* list = reader.find("merges");
  GLINT_CHECK(list && list->is_array(), BadModel, "{}: expected an array of pairs", reader.place("merges"));
  for (size_t rank = 0; rank < list->size(); ++rank) {
    const std::string place = reader.place("merges[" + std::to_string(rank) + "]");
    std::vector<std::string> pair;
    detail::read_value((*list)[rank], place, pair);
    GLINT_CHECK(pair.size() == 2, BadModel, "{}: expected two tokens, got {}", place, pair.size());
    const auto id = [&](const std::string& token) {
      const auto found = vocabulary.find(token);
      GLINT_CHECK(found != vocabulary.end(), BadModel, "{}: '{}' is not in the vocabulary", place, token);
      return found->second;
    };
    merges.try_emplace(pair_key(id(pair[0]), id(pair[1])), Merge{rank, id(pair[0] + pair[1])});
  }
}

void read_added(detail::FieldReader& reader, std::vector<AddedToken>& plain,
                std::vector<AddedToken>& normal) {
  const auto* list = reader.find("added");
  GLINT_CHECK(list && list->is_array(), BadModel, "{}: expected an array", reader.place("added"));
  for (size_t i = 0; i < list->size(); ++i) {
    detail::FieldReader entry((*list)[i], reader.place("added[" + std::to_string(i) + "]"), "");
    AddedToken token;
    bool is_normalized = false;
    entry.required("text", token.text);
    entry.required("id", token.id);
    entry.rule(token.id >= 0, "id", "an id of at least 0");
    entry.required("normalized", is_normalized);
    entry.finish();
    if (is_normalized) token.text = detail::to_utf8(normalized(token.text));
    (is_normalized ? normal : plain).push_back(std::move(token));
  }
}

}  // namespace

ClipTokenizer::ClipTokenizer(std::shared_ptr<const Table> table, const TokenFrame& frame)
    : table_(std::move(table)), frame_(frame) {
  detail::check_frame(frame_, 2);
}

ClipTokenizer ClipTokenizer::load(const std::filesystem::path& path, const TokenFrame& frame) {
  return parse(detail::FileBytes(path).text(), path.string(), frame);
}

ClipTokenizer ClipTokenizer::parse(std::string_view content, const std::string& where,
                                   const TokenFrame& frame) {
  const auto document = detail::parse_json(content, where);
  detail::FieldReader reader(document, where, "");
  auto table = std::make_shared<Table>();
  int64_t version = 0;
  auto type = TokenizerKind::ClipBpe;
  reader.required("version", version);
  reader.rule(version == 1, "version", "1");
  reader.choice("type", type, true, kType);
  reader.required("unknown", table->unknown);
  reader.rule(table->unknown >= 0, "unknown", "an id of at least 0");
  reader.required("suffix", table->suffix);
  read_vocabulary(reader, table->vocabulary);
  read_merges(reader, table->vocabulary, table->merges);
  read_added(reader, table->added, table->added_normalized);
  reader.finish();
  return ClipTokenizer(std::move(table), frame);
}

TokenizedPrompt ClipTokenizer::encode(std::string_view prompt) const {
  if (const auto offset = invalid_utf8_offset(prompt))
    fail(ErrorCode::InvalidArgument, "prompt: not UTF-8 at byte offset {}", *offset);
  const std::string cleaned = frame_.web_text ? detail::clean_web_text(prompt) : std::string(prompt);
  detail::FramedIds out(frame_, true);
  const auto token = [&](const AddedToken& added) { out.add({&added.id, 1}, added.text); };
  const auto words = [&](std::string_view piece) { table_->encode(detail::code_points(piece), out); };
  const auto piece = [&](std::string_view text) {
    detail::cut_at(detail::to_utf8(normalized(text)), table_->added_normalized, words, token);
  };
  detail::cut_at(cleaned, table_->added, piece, token);
  return std::move(out).finish();
}

std::shared_ptr<const Tokenizer> ClipTokenizer::with_length(int64_t length) const {
  TokenFrame frame = frame_;
  frame.max_tokens = length;
  return std::make_shared<const ClipTokenizer>(ClipTokenizer(table_, frame));
}

}  // namespace glint
