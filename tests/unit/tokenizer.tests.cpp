#include <glint/text/tokenizer.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

using namespace glint;
using test::Contains;
using Ids = std::vector<int64_t>;
using Words = std::vector<std::string>;

namespace GLINT_TEST_FILE {

WordTokenizer example() {
  return WordTokenizer({.words = {{"a", 2}, {"red", 3}, {"star", 4}, {"3", 5}}, .max_tokens = 5});
}

TEST_CASE("Words are lower-cased, split at punctuation and space, and padded", "[unit]") {
  const auto tokenizer = example();
  CHECK(tokenizer.encode("a red star").ids == Ids{2, 3, 4, 0, 0});
  CHECK(tokenizer.encode("  A-Red,STAR!? 3 ").ids == Ids{2, 3, 4, 5, 0});
  CHECK(tokenizer.encode("").ids == Ids{0, 0, 0, 0, 0});
  CHECK(tokenizer.encode(" \u2014 \u201c!\u201d + ").ids == Ids{0, 0, 0, 0, 0});
  CHECK(tokenizer.encode(std::string_view("a\0red", 5)).ids == Ids{2, 3, 0, 0, 0});
}

TEST_CASE("Unknown and superfluous words are told, not silently dropped", "[unit]") {
  const auto tokenizer = example();
  const auto unknown = tokenizer.encode("a blue star, Blue green");
  CHECK(unknown.ids == Ids{2, 1, 4, 1, 1});
  CHECK(unknown.unknown == Words{"blue", "green"});
  CHECK(unknown.dropped.empty());
  const auto longer = tokenizer.encode("a a a a a red blue");
  CHECK(longer.ids == Ids{2, 2, 2, 2, 2});
  CHECK(longer.dropped == Words{"red", "blue"});
  CHECK(longer.unknown.empty());
}

TEST_CASE("Words may be of any alphabet, and symbols are words too", "[unit]") {
  const WordTokenizer tokenizer(
      {.words = {{"яблоко", 2}, {"苹果", 3}, {"na\u00efve", 4}, {"a", 5}}, .max_tokens = 6});
  CHECK(tokenizer.encode("ЯБЛОКО, 苹果! na\u00efve nai\u0308ve a").ids == Ids{2, 3, 4, 4, 5, 0});
  const auto told = tokenizer.encode("a\u2605 \U0001F468\u200D\U0001F469 ☀\uFE0F\u0301 b");
  CHECK(told.ids == Ids{5, 1, 1, 1, 1, 0});
  CHECK(told.unknown == Words{"\u2605", "\U0001F468\u200D\U0001F469", "☀\uFE0F\u0301", "b"});
  for (const char* word : {"Яблоко", "nai\u0308ve", "a b", "a-b", "-", "", "\xff"})
    CHECK_THAT(test::failure([&] {
                 WordTokenizer({.words = {{word, 2}}});
               }),
               Contains("no prompt can contain it"));
}

TEST_CASE("A prompt that is not UTF-8 is refused with the offset, and the tokenizer goes on", "[unit]") {
  const auto tokenizer = example();
  CHECK(test::failure([&] { tokenizer.encode("red\xFFstar"); }) ==
        "InvalidArgument: prompt: not UTF-8 at byte offset 3");
  CHECK(tokenizer.encode("red").ids == Ids{3, 0, 0, 0, 0});
}

TEST_CASE("A tokenizer file is read, and a wrong one refused by field", "[unit]") {
  const auto tokenizer = WordTokenizer::load(test::data("modules/tokenizer.json"));
  CHECK(tokenizer.length() == 8);
  CHECK(tokenizer.encode("red").ids[0] == 2);

  CHECK(load_tokenizer(test::data("modules/tokenizer.json"), TokenizerKind::Words)->length() == 8);
  CHECK_THAT(
      test::failure([] { load_tokenizer(test::data("modules/tokenizer.json"), TokenizerKind::ClipBpe); }),
      Contains("type: expected clip-bpe, got 'words'"));
  CHECK_THAT(test::failure([] { load_tokenizer("none", static_cast<TokenizerKind>(3)); }),
             Contains("InvalidArgument: tokenizer"));

  const test::TemporaryFolder folder;
  const auto failure = [&](const std::string& text) {
    return test::failure([&] { WordTokenizer::load(test::write_bytes(folder / "t.json", text)); });
  };
  const std::string head = R"({"version":1,"type":"words","pad":0,"unknown":1,)";
  CHECK_THAT(failure("{"), Contains("BadModel: ") && Contains("t.json: not valid JSON"));
  CHECK_THAT(failure(R"({"version":2})"), Contains("version: expected 1, got number 2"));
  CHECK_THAT(failure(R"({"version":1,"type":"bpe"})"), Contains("type: expected words, got 'bpe'"));
  CHECK_THAT(failure(head + R"("max_tokens":8})"), Contains("words: missing field"));
  CHECK_THAT(failure(head + R"("max_tokens":0,"words":{}})"), Contains("max_tokens: expected 1 to"));
  CHECK_THAT(failure(head + R"("max_tokens":8,"words":{"a":"b"}})"), Contains("words.a: expected integer"));
  CHECK_THAT(failure(head + R"("max_tokens":8,"words":{"A":2}})"), Contains("no prompt can contain it"));
  CHECK_THAT(failure(head + R"("max_tokens":8,"words":{"a":-2}})"), Contains("words.a: expected an id"));
  CHECK_THAT(failure(head + R"("max_token":8,"words":{}})"), Contains("max_tokens: missing field"));
  CHECK_THAT(failure(head + R"("max_tokens":8,"words":{},"wrods":{}})"),
             Contains("wrods: unknown field; did you mean 'words'?"));
  CHECK_THAT(test::failure([&] { WordTokenizer::load(folder / "none"); }), Contains("NotFound: "));
}

}  // namespace GLINT_TEST_FILE
