// Messages: every argument in the place of its {}, numbers in the fewest digits that give them back.
#include <glint/core/error.hpp>

#include "tests/support/errors.hpp"

#include <cstdint>
#include <limits>

namespace glint {
namespace GLINT_TEST_FILE {

TEST_CASE("A message holds its arguments in order", "[unit]") {
  const std::string owner = "model", quoted = "a {} b";
  CHECK(message("nothing to fill") == "nothing to fill");
  CHECK(message("{}.{}: expected {}, got '{}'", owner, std::string_view("scale"), "a number", 'x') ==
        "model.scale: expected a number, got 'x'");
  CHECK(message("{}{}", quoted, true) == "a {} btrue");  // an argument's own braces are text
  CHECK(joined_text(std::vector<std::string>{"cfg", "apg"}, ", ") == "cfg, apg");
  CHECK(joined_text(std::vector<int64_t>{2, -1}, ",") == "2,-1");
  CHECK(joined_text(std::vector<int>{}, ",").empty());
}

TEST_CASE("Integers of every size are written whole", "[unit]") {
  CHECK(message("{} {} {}", std::numeric_limits<int64_t>::min(), std::numeric_limits<uint64_t>::max(), -7) ==
        "-9223372036854775808 18446744073709551615 -7");
  CHECK(message("{} {}", static_cast<uint8_t>(200), static_cast<int16_t>(-3)) == "200 -3");
}

TEST_CASE("Numbers are written in the fewest digits, with an exponent where they are very large or small",
          "[unit]") {
  const std::pair<double, const char*> kCases[] = {{0.0, "0"},
                                                   {-0.0, "-0"},
                                                   {1.0, "1"},
                                                   {-2.5, "-2.5"},
                                                   {0.1, "0.1"},
                                                   {1.0 / 3, "0.3333333333333333"},
                                                   {1e9, "1000000000"},
                                                   {1e15, "1000000000000000"},
                                                   {1e16, "1e+16"},
                                                   {1.5e300, "1.5e+300"},
                                                   {0.0001, "0.0001"},
                                                   {0.00001, "1e-05"},
                                                   {2.5e-9, "2.5e-09"},
                                                   {std::numeric_limits<double>::infinity(), "inf"},
                                                   {-std::numeric_limits<double>::infinity(), "-inf"},
                                                   {std::numeric_limits<double>::quiet_NaN(), "nan"}};
  for (const auto& [value, text] : kCases) CHECK(message("{}", value) == text);
  CHECK(message("{}", 0.1f) == "0.1");
}

TEST_CASE("A failure's message is UTF-8 whatever its arguments are", "[unit]") {
  const auto said = [](std::string_view text) {
    return std::string(test::error_of([&] { fail(ErrorCode::NotFound, "{}!", text); })->what());
  };
  for (const char* kept :
       {"star", "\xC3\xA9", "\xE2\x82\xAC", "\xED\x9F\xBF", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"})
    CHECK(said(kept) == std::string(kept) + "!");
  CHECK(said("a\xFFz") == "a\\xffz!");
  CHECK(said("\xC0\x80") == "\\xc0\\x80!");                    // overlong
  CHECK(said("\xED\xA0\x80") == "\\xed\\xa0\\x80!");           // half of a pair
  CHECK(said("\xF4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80!");  // above U+10FFFF
  CHECK(said("\xE2\x82") == "\\xe2\\x82!");                    // cut off
}

TEST_CASE("fail throws an Error with the code and the filled message", "[unit]") {
  CHECK(test::failure([] { fail(ErrorCode::NotFound, "{}: no such {}", "a.png", "file"); }) ==
        "NotFound: a.png: no such file");
  CHECK(test::failure([] { GLINT_CHECK(1 > 2, Numerical, "x: expected {}, got {}", 1.5, 2); }) ==
        "Numerical: x: expected 1.5, got 2");
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
