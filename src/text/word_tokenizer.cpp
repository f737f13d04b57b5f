#include "io/file.hpp"
#include "io/json_fields.hpp"
#include "text/unicode.hpp"

#include <glint/io/utf8.hpp>
#include <glint/text/tokenizer.hpp>

#include <set>

namespace glint {
namespace {

constexpr int64_t kMostTokens = 65536;
constexpr std::array kType{enum_name(TokenizerKind::Words)};

/// What a character does to the words around it.
enum class Part { Separator, Letter, Symbol, Either };

Part part_of(char32_t point) {
  constexpr char32_t kLastAscii = 0x7F;
  if (detail::is_letter(point) || detail::is_number(point)) return Part::Letter;
  if (detail::is_joining(point)) return Part::Either;
  return point > kLastAscii && detail::is_symbol(point) ? Part::Symbol : Part::Separator;
}

/// Splits a prompt into lower-cased words: runs of letters and digits, and runs of symbols.
std::vector<std::string> split(std::string_view prompt) {
  std::vector<std::string> words;
  Part last = Part::Separator;
  std::u32string word;
  const auto flush = [&] {
    if (!word.empty()) words.push_back(detail::to_utf8(word));
    word.clear();
  };
  for (const char32_t point : detail::lower_case(detail::composed(detail::code_points(prompt)))) {
    Part part = part_of(point);
    if (part == Part::Either) part = last;  // a mark belongs to what it stands on
    if (part != last) flush();
    if (part != Part::Separator) word += point;
    last = part;
  }
  flush();
  return words;
}

void read_words(detail::FieldReader& reader, std::map<std::string, int64_t, std::less<>>& words) {
  for (const auto& [word, unused] : reader.json().items()) {
    int64_t id = 0;
    detail::read_value(reader.json()[word], reader.place(word), id);
    words.emplace(word, id);
  }
}

}  // namespace

WordTokenizer::WordTokenizer(Options options) : options_(std::move(options)) {
  GLINT_CHECK(options_.max_tokens > 0 && options_.max_tokens <= kMostTokens, InvalidArgument,
              "max_tokens: expected 1 to {}, got {}", kMostTokens, options_.max_tokens);
  GLINT_CHECK(options_.pad >= 0, InvalidArgument, "pad: expected an id of at least 0, got {}", options_.pad);
  GLINT_CHECK(options_.unknown >= 0, InvalidArgument, "unknown: expected an id of at least 0, got {}",
              options_.unknown);
  for (const auto& [word, id] : options_.words) {
    GLINT_CHECK(id >= 0, InvalidArgument, "words.{}: expected an id of at least 0, got {}", word, id);
    GLINT_CHECK(!invalid_utf8_offset(word) && split(word) == std::vector<std::string>{word}, InvalidArgument,
                "words: '{}' is not one word in lower case, so no prompt can contain it", word);
  }
}

WordTokenizer WordTokenizer::load(const std::filesystem::path& path) {
  return parse(detail::FileBytes(path).text(), path.string());
}

WordTokenizer WordTokenizer::parse(std::string_view content, const std::string& where) {
  const auto document = detail::parse_json(content, where);
  detail::FieldReader reader(document, where, "");
  int64_t version = 0;
  auto type = TokenizerKind::Words;
  Options options;
  reader.required("version", version);
  reader.rule(version == 1, "version", "1");
  reader.choice("type", type, true, kType);
  reader.required("pad", options.pad);
  reader.required("unknown", options.unknown);
  reader.required("max_tokens", options.max_tokens);
  const auto* words = reader.find("words");
  GLINT_CHECK(words, BadModel, "{}: missing field", reader.place("words"));
  detail::FieldReader table(*words, where, "words");
  read_words(table, options.words);
  reader.finish();
  try {
    return WordTokenizer(std::move(options));
  } catch (const Error& error) {
    fail(ErrorCode::BadModel, "{}: {}", where, error.what());
  }
}

TokenizedPrompt WordTokenizer::encode(std::string_view prompt) const {
  if (const auto offset = invalid_utf8_offset(prompt))
    fail(ErrorCode::InvalidArgument, "prompt: not UTF-8 at byte offset {}", *offset);
  TokenizedPrompt result;
  std::set<std::string> listed;
  for (auto& word : split(prompt)) {
    if (result.ids.size() == static_cast<size_t>(options_.max_tokens)) {
      result.dropped.push_back(std::move(word));
      continue;
    }
    const auto known = options_.words.find(word);
    result.ids.push_back(known != options_.words.end() ? known->second : options_.unknown);
    if (known == options_.words.end() && listed.insert(word).second)
      result.unknown.push_back(std::move(word));
  }
  result.used = static_cast<int64_t>(result.ids.size());
  result.ids.resize(static_cast<size_t>(options_.max_tokens), options_.pad);
  return result;
}

}  // namespace glint
