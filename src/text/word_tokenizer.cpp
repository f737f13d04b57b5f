#include "io/json_fields.hpp"

#include <glint/io/utf8.hpp>
#include <glint/text/tokenizer.hpp>

namespace glint {
namespace {

constexpr int64_t kMostTokens = 65536;
constexpr std::array kType{enum_name(TokenizerKind::Words)};

bool is_word_byte(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

/// Splits a prompt into lower-cased words.
std::vector<std::string> split(std::string_view prompt) {
  std::vector<std::string> words(1);
  for (char c : prompt) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (is_word_byte(c))
      words.back() += c;
    else if (!words.back().empty())
      words.emplace_back();
  }
  if (words.back().empty()) words.pop_back();
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
    GLINT_CHECK(!word.empty() && std::all_of(word.begin(), word.end(), is_word_byte), InvalidArgument,
                "words: '{}' has other characters than [a-z0-9], so no prompt can contain it", word);
  }
}

WordTokenizer WordTokenizer::load(const std::filesystem::path& path) {
  const auto document = detail::parse_json_file(path);
  detail::FieldReader reader(document, path.string(), "");
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
  detail::FieldReader table(*words, path.string(), "words");
  read_words(table, options.words);
  reader.finish();
  try {
    return WordTokenizer(std::move(options));
  } catch (const Error& error) {
    fail(ErrorCode::BadModel, "{}: {}", path.string(), error.what());
  }
}

TokenizedPrompt WordTokenizer::encode(std::string_view prompt) const {
  if (const auto offset = invalid_utf8_offset(prompt))
    fail(ErrorCode::InvalidArgument, "prompt: not UTF-8 at byte offset {}", *offset);
  TokenizedPrompt result;
  for (auto& word : split(prompt)) {
    if (result.ids.size() == static_cast<size_t>(options_.max_tokens)) {
      result.dropped.push_back(std::move(word));
      continue;
    }
    const auto known = options_.words.find(word);
    result.ids.push_back(known != options_.words.end() ? known->second : options_.unknown);
    const bool listed = std::find(result.unknown.begin(), result.unknown.end(), word) != result.unknown.end();
    if (known == options_.words.end() && !listed) result.unknown.push_back(std::move(word));
  }
  result.used = static_cast<int64_t>(result.ids.size());
  result.ids.resize(static_cast<size_t>(options_.max_tokens), options_.pad);
  return result;
}

}  // namespace glint
