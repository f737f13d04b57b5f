#include "text/web_text.hpp"

#include <glint/text/subword_tokenizers.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <nlohmann/json.hpp>

using namespace glint;
using detail::clean_web_text;
using test::Contains;

namespace GLINT_TEST_FILE {

const std::string kTable =
    R"({"version": 1, "type": "clip-bpe", "vocabulary": {"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab</w>": 4},
        "merges": [["a", "b</w>"]], "unknown": 9, "suffix": "</w>",
        "added": [{"text": "[X]", "id": 8, "normalized": false}]})";
const TokenFrame kFrame{.max_tokens = 6, .bos = 10, .eos = 11, .pad = 12};

ClipTokenizer clip(const test::TemporaryFolder& folder, const std::string& table = kTable,
                   const TokenFrame& frame = kFrame) {
  return ClipTokenizer::load(test::write_bytes(folder / "t.json", table), frame);
}

TEST_CASE("Byte pairs are merged, and a prompt is framed and filled up", "[unit]") {
  const test::TemporaryFolder folder;
  const auto tokenizer = clip(folder);
  const auto one = tokenizer.encode(" AB  a");
  CHECK(one.ids == std::vector<int64_t>{10, 4, 2, 11, 12, 12});
  CHECK(one.used == 4);
  CHECK(tokenizer.encode("").ids == std::vector<int64_t>{10, 11, 12, 12, 12, 12});
  CHECK(tokenizer.encode("a[X]z").ids == std::vector<int64_t>{10, 2, 8, 9, 11, 12});
}

TEST_CASE("Words that do not fit are reported, also those that lose a part", "[unit]") {
  const test::TemporaryFolder folder;
  const auto cut = clip(folder).encode("a b a aab b");
  CHECK(cut.ids == std::vector<int64_t>{10, 2, 3, 2, 0, 11});
  CHECK(cut.dropped == std::vector<std::string>{"aab", "b"});
}

TEST_CASE("Prompts that are not UTF-8, and frames without room, are refused", "[unit]") {
  const test::TemporaryFolder folder;
  CHECK_THAT(test::failure([&] { clip(folder).encode("a\xff"); }),
             Contains("InvalidArgument: prompt: not UTF-8 at byte offset 1"));
  CHECK_THAT(test::failure([&] { clip(folder, kTable, {.max_tokens = 2}); }),
             Contains("InvalidArgument: max_tokens: expected 3"));
}

TEST_CASE("A merge of what the vocabulary lacks is refused by name", "[unit]") {
  const test::TemporaryFolder folder;
  auto table = nlohmann::json::parse(kTable);
  table["merges"].push_back({"b", "b</w>"});
  CHECK_THAT(test::failure([&] { clip(folder, table.dump()); }),
             Contains("BadModel") && Contains("merges[1]: 'bb</w>' is not in the vocabulary"));
}

TEST_CASE("Long prompts take time in proportion to their length", "[unit]") {
  // A megabyte each; with a cost that grows as the square, any of these would take minutes.
  const test::TemporaryFolder folder;
  const auto sentences =
      SentencePieceTokenizer::load(test::data("families/wan/tokenizer.model"), {.max_tokens = 8, .eos = 1});
  const auto pieces = clip(folder);
  const WordTokenizer words({.words = {{"a", 2}}, .max_tokens = 8});
  std::string run, apart;
  for (int i = 0; run.size() < 1'000'000; ++i) {
    const int point = 0x4E00 + i % 20'000;  // Chinese characters, which the small test models do not know
    for (const int byte : {0xE0 | point >> 12, 0x80 | (point >> 6 & 0x3F), 0x80 | (point & 0x3F)})
      run += static_cast<char>(byte);
    apart += fmt::format("w{} ", i);
  }
  std::string same(1000000, 'a');
  for (const std::string* text : {&run, &apart, &same}) {
    CHECK(sentences.encode(*text).ids.size() == 8);
    CHECK(pieces.encode(*text).ids.size() == 6);
    CHECK(words.encode(*text).ids.size() == 8);
  }
  const auto told = sentences.encode("a " + run.substr(0, 30));
  CHECK(told.unknown == std::vector<std::string>{run.substr(0, 30)});
}

TEST_CASE("Damaged vocabularies are errors or other tokenizers, never crashes", "[unit]") {
  const test::TemporaryFolder folder;
  std::mt19937 random(7);
  const auto model = test::read_bytes(test::data("families/wan/tokenizer.model"));
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto error =
        test::error_of([&] { clip(folder, test::mutated(kTable, random)).encode("ab [X] b"); });
    if (error) CHECK(error->code() == ErrorCode::BadModel);
    refused += error.has_value();
  }
  CHECK(refused > 1000);
  for (size_t cut : {size_t{0}, size_t{1}, size_t{100}, model.size() / 2, model.size() - 1}) {
    const auto path = test::write_bytes(folder / "t.model", model.substr(0, cut));
    CHECK_THAT(test::failure([&] { SentencePieceTokenizer::load(path, {.max_tokens = 8, .eos = 1}); }),
               Contains("BadModel"));
  }
  for (int i = 0; i < 300; ++i) {
    const auto path = test::write_bytes(folder / "t.model", test::mutated(model, random));
    const auto error = test::error_of([&] {
      SentencePieceTokenizer::load(path, {.max_tokens = 8, .eos = 1})
          .encode("a caf\u00e9 \u732b in ten words");
    });
    if (error) CHECK(error->code() == ErrorCode::BadModel);
  }
}

TEST_CASE("Web text loses its character references and extra white space", "[unit]") {
  CHECK(clean_web_text("  fish &amp;amp; chips\n\t&#x1F600;&#65 &quot;x&quot  ") ==
        "fish & chips \U0001F600A \"x\"");
  CHECK(clean_web_text("R&D & &unknown; &#0; &#128;") == "R&D & &unknown; \uFFFD \u20AC");
  CHECK(clean_web_text(" \u3000 ").empty());
  // A name counts with its semicolon only if it is the whole of it; else the longest one valid without.
  CHECK(clean_web_text("&notit; &notin; &NotEqualTilde; &hearts;&ampere &copy2 &lt") ==
        "\u00ACit; \u2209 \u2242\u0338 \u2665&ere \u00A92 <");
  CHECK(clean_web_text("&hearts &;& &# &#x; &fjlig;") == "&hearts &;& &# &#x; fj");
}

}  // namespace GLINT_TEST_FILE
