// Token ids of 200 prompts against transformers' tokenizers: exact, for every id is an index. And what Wan's
// pipeline makes of 500 damaged prompts before that.
#include "text/web_text.hpp"

#include <glint/bundle/bundle.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/io/sha256.hpp>
#include <glint/text/tokenizer.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <nlohmann/json.hpp>

using namespace glint;

namespace GLINT_TEST_FILE {

void check_ids(const std::string& family, const std::string& name) {
  const auto prompts = nlohmann::json::parse(test::read_bytes(test::data("families/prompts.json")));
  const auto ids = read_safetensors(test::data("families/ids.safetensors")).at(family + "." + name);
  REQUIRE(prompts.size() == 200);
  REQUIRE(ids.size(0) == 200);
  const auto tokenizer = Bundle::load(test::data("families/" + family)).tokenizer(name);
  REQUIRE(tokenizer->length() == ids.size(1));
  for (int64_t i = 0; i < ids.size(0); ++i) {
    const auto prompt = prompts[static_cast<size_t>(i)].get<std::string>();
    CAPTURE(i, prompt);
    const auto* row = ids.const_data_ptr<int32_t>() + i * ids.size(1);
    CHECK(tokenizer->encode(prompt).ids == std::vector<int64_t>(row, row + ids.size(1)));
  }
}

TEST_CASE("SDXL's first CLIP tokenizer gives transformers' ids", "[parity]") {
  check_ids("sdxl", "tokenizer");
}
TEST_CASE("SDXL's second CLIP tokenizer gives transformers' ids", "[parity]") {
  check_ids("sdxl", "tokenizer_2");
}
TEST_CASE("SD3's T5 tokenizer gives transformers' ids", "[parity]") { check_ids("sd3", "tokenizer_3"); }
TEST_CASE("FLUX's T5 tokenizer gives transformers' ids", "[parity]") { check_ids("flux", "tokenizer_2"); }
TEST_CASE("Wan's UMT5 tokenizer gives transformers' ids", "[parity]") { check_ids("wan", "tokenizer"); }

TEST_CASE("Damaged prompts are repaired as by Wan's pipeline with ftfy", "[parity]") {
  const auto prompts = nlohmann::json::parse(test::read_bytes(test::data("families/web_prompts.json")));
  REQUIRE(prompts.size() == 500);
  const auto tokenizer = Bundle::load(test::data("families/wan")).tokenizer("tokenizer");
  for (const auto& each : prompts) {
    const std::string prompt = each["prompt"], cleaned = each["cleaned"], digest = each["ids"];
    CAPTURE(prompt);
    CHECK(detail::clean_web_text(prompt) == cleaned);
    const std::vector<int64_t> ids = tokenizer->encode(prompt).ids;
    const std::vector<int32_t> narrow(ids.begin(), ids.end());
    CHECK(sha256({reinterpret_cast<const char*>(narrow.data()), narrow.size() * sizeof(int32_t)})
              .starts_with(digest));
  }
}

}  // namespace GLINT_TEST_FILE
