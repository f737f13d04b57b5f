#include "text/web_text.hpp"

#include "text/unicode.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace glint::detail {
namespace {

struct Named {
  std::u32string_view name;
  char32_t point;
  bool bare;  ///< also valid without its semicolon
};

constexpr std::array<Named, 30> kNamed{
    {{U"amp", '&', true},       {U"lt", '<', true},         {U"gt", '>', true},
     {U"quot", '"', true},      {U"apos", '\'', false},     {U"nbsp", 0xA0, true},
     {U"copy", 0xA9, true},     {U"reg", 0xAE, true},       {U"deg", 0xB0, true},
     {U"times", 0xD7, true},    {U"laquo", 0xAB, true},     {U"raquo", 0xBB, true},
     {U"middot", 0xB7, true},   {U"eacute", 0xE9, true},    {U"egrave", 0xE8, true},
     {U"agrave", 0xE0, true},   {U"auml", 0xE4, true},      {U"ouml", 0xF6, true},
     {U"uuml", 0xFC, true},     {U"szlig", 0xDF, true},     {U"ntilde", 0xF1, true},
     {U"ccedil", 0xE7, true},   {U"hellip", 0x2026, false}, {U"ndash", 0x2013, false},
     {U"mdash", 0x2014, false}, {U"lsquo", 0x2018, false},  {U"rsquo", 0x2019, false},
     {U"ldquo", 0x201C, false}, {U"rdquo", 0x201D, false},  {U"trade", 0x2122, false}}};

/// Browsers read the numbers 0x80 to 0x9F as Windows-1252.
constexpr std::array<char32_t, 32> kWindows{0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                            0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D,   0x017D, 0x8F,
                                            0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                            0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};

/// A character reference at the front of a text: its replacement (empty if the number names no character) and
/// its length.
struct Reference {
  std::u32string meaning;
  size_t length;
};

std::u32string meaning_of(uint32_t number) {
  if (number == 0 || number > 0x10FFFF || (number >= 0xD800 && number <= 0xDFFF)) return U"\uFFFD";
  if (number >= 0x80 && number <= 0x9F) return {kWindows[number - 0x80]};
  if (number == 0xD) return U"\r";
  const bool control =
      (number < 0x20 && number != '\t' && number != '\n' && number != '\f') || number == 0x7F;
  const bool none = (number >= 0xFDD0 && number <= 0xFDEF) || (number & 0xFFFE) == 0xFFFE;
  if (control || none) return {};
  return {static_cast<char32_t>(number)};
}

std::optional<Reference> numbered(std::u32string_view text) {
  const bool hexadecimal = text.size() > 2 && (text[2] == 'x' || text[2] == 'X');
  const uint32_t base = hexadecimal ? 16 : 10;
  size_t at = hexadecimal ? 3 : 2;
  const size_t first = at;
  uint32_t number = 0;
  for (; at < text.size(); ++at) {
    const char32_t c = text[at];
    const uint32_t digit = c >= '0' && c <= '9'   ? c - '0'
                           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                  : 99;
    if (digit >= base) break;
    number = std::min<uint32_t>(number * base + digit, 0x110000);
  }
  if (at == first) return std::nullopt;
  if (at < text.size() && text[at] == ';') ++at;
  return Reference{meaning_of(number), at};
}

std::optional<Reference> named(std::u32string_view text) {
  for (const auto& one : kNamed) {
    if (!text.substr(1).starts_with(one.name)) continue;
    const size_t end = 1 + one.name.size();
    const bool closed = end < text.size() && text[end] == ';';
    if (closed || one.bare) return Reference{{one.point}, end + (closed ? 1 : 0)};
  }
  return std::nullopt;
}

std::u32string unescaped(std::u32string_view text) {
  std::u32string result;
  while (!text.empty()) {
    std::optional<Reference> found;
    if (text.size() > 2 && text[0] == '&') found = text[1] == '#' ? numbered(text) : named(text);
    result += found ? found->meaning : std::u32string(1, text[0]);
    text.remove_prefix(found ? found->length : 1);
  }
  return result;
}

}  // namespace

std::string clean_web_text(std::string_view text) {
  std::u32string result;
  for (const char32_t point : unescaped(unescaped(code_points(text)))) {
    if (!is_space(point))
      result += point;
    else if (!result.empty() && result.back() != ' ')
      result += U' ';
  }
  if (!result.empty() && result.back() == ' ') result.pop_back();
  return to_utf8(result);
}

}  // namespace glint::detail
