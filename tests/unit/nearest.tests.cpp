#include <glint/core/nearest.hpp>
#include <glint/io/utf8.hpp>

#include "tests/support/catch.hpp"

#include <string>
#include <vector>

TEST_CASE("Edit distance counts insertions, deletions, substitutions and swaps", "[unit]") {
  CHECK(glint::edit_distance("", "") == 0);
  CHECK(glint::edit_distance("", "abc") == 3);
  CHECK(glint::edit_distance("abc", "") == 3);
  CHECK(glint::edit_distance("kitten", "sitting") == 3);
  CHECK(glint::edit_distance("inptus", "inputs") == 1);
  CHECK(glint::edit_distance("inputs", "inputs") == 0);
}

TEST_CASE("A misspelt name finds the nearest known one, a foreign word none", "[unit]") {
  const std::vector<std::string> names{"ddim",     "euler",        "euler-ancestral",
                                       "dpmpp-2m", "dpmpp-2m-sde", "unipc"};
  CHECK(glint::nearest_name("eular", names) == "euler");
  CHECK(glint::nearest_name("dpmp-2m", names) == "dpmpp-2m");
  CHECK(glint::nearest_name("dpmpp2msde", names) == "dpmpp-2m-sde");
  CHECK_FALSE(glint::nearest_name("banana", names));
  CHECK_FALSE(glint::nearest_name("", names));
  CHECK_FALSE(glint::nearest_name(std::string(100000, 'e'), names));
  CHECK(glint::did_you_mean("eular", names) == "; did you mean 'euler'?");
  CHECK(glint::did_you_mean("banana", names).empty());
}

TEST_CASE("Names can come from an initializer list, too", "[unit]") {
  CHECK(glint::nearest_name("setps", std::initializer_list<const char*>{"seed", "steps"}) == "steps");
}

TEST_CASE("The first byte that is not UTF-8 is found", "[unit]") {
  using glint::invalid_utf8_offset;
  CHECK_FALSE(invalid_utf8_offset("plain, caf\xC3\xA9, \xE2\x98\x85, \xF0\x9F\x98\x80"));
  CHECK_FALSE(invalid_utf8_offset(""));
  CHECK(invalid_utf8_offset("ab\xFFz") == 2);
  CHECK(invalid_utf8_offset("caf\xE9") == 3);           // Latin-1
  CHECK(invalid_utf8_offset("\xC0\xAF") == 0);          // overlong
  CHECK(invalid_utf8_offset("x\xED\xA0\x80") == 1);     // a surrogate
  CHECK(invalid_utf8_offset("\xF4\x90\x80\x80") == 0);  // above U+10FFFF
  CHECK(invalid_utf8_offset("ok\xF0\x9F\x98") == 2);    // cut off
  CHECK(invalid_utf8_offset("\x80") == 0);
  // Both sides of every bound of table 3-7.
  for (const char* good : {"\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    CHECK_FALSE(invalid_utf8_offset(good));
  for (const char* bad : {"\xC1\xBF", "\xC2\x7F", "\xE0\x9F\xBF", "\xED\xBF\xBF", "\xEF\xBF\xC0",
                          "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80"})
    CHECK(invalid_utf8_offset(bad) == 0);
  CHECK_FALSE(invalid_utf8_offset(std::string_view("a\0b", 3)));
}
