#include "text/repaired.hpp"

#include "text/html_references.hpp"
#include "text/mojibake.hpp"
#include "text/mojibake_tables.hpp"
#include "text/unicode.hpp"

#include <algorithm>
#include <span>

namespace glint::detail {
namespace {

constexpr char32_t kEscape = 0x1B, kLineSeparator = 0x2028, kParagraphSeparator = 0x2029, kNextLine = 0x85;

void append(std::u32string& out, char32_t c, std::span<const Replacement> table) {
  const auto found =
      std::lower_bound(table.begin(), table.end(), c, [](const auto& e, char32_t x) { return e.from < x; });
  if (found != table.end() && found->from == c)
    out += found->to;
  else
    out += c;
}

std::u32string replaced(std::u32string_view text, std::span<const Replacement> table) {
  std::u32string out;
  for (const char32_t c : text) append(out, c, table);
  return out;
}

char32_t straight(char32_t c) {
  if (c == 0x2BC || (c >= 0x2018 && c <= 0x201B)) return U'\'';
  return c >= 0x201C && c <= 0x201F ? U'"' : c;
}

std::u32string with_plain_lines(std::u32string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    const bool pair = c == '\r' && i + 1 < text.size() && text[i + 1] == '\n';
    if (pair) continue;
    const bool breaks = c == '\r' || c == kLineSeparator || c == kParagraphSeparator || c == kNextLine;
    out += breaks ? U'\n' : straight(c);
  }
  return out;
}

/// Returns the length of a terminal escape at the front, such as those that colour text; 0 if there is none.
size_t terminal_escape(std::u32string_view text) {
  if (text.size() < 3 || text[0] != kEscape || text[1] != '[') return 0;
  size_t at = 2;
  while (at < text.size() && ((text[at] >= '0' && text[at] <= '9') || text[at] == ';')) ++at;
  const bool letter =
      at < text.size() && ((text[at] >= 'a' && text[at] <= 'z') || (text[at] >= 'A' && text[at] <= 'Z'));
  return letter ? at + 1 : 0;
}

bool is_unwanted(char32_t c) {
  return c < 0x09 || c == 0x0B || (c >= 0x0E && c < 0x20) || c == 0x7F || (c >= 0x206A && c < 0x2070) ||
         c == 0xFEFF || (c >= 0xFFF9 && c < 0xFFFD);
}

std::u32string without_controls(std::u32string_view text) {
  std::u32string plain, out;
  while (!text.empty()) {
    const size_t length = terminal_escape(text);
    if (length == 0) plain += text[0];
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  std::copy_if(plain.begin(), plain.end(), std::back_inserter(out),
               [](char32_t c) { return !is_unwanted(c); });
  return out;
}

std::u32string repaired_line(std::u32string text, bool unescapes) {
  for (;;) {
    const std::u32string before = text;
    if (unescapes) text = unescaped_whole(text);
    text = without_c1_controls(without_mojibake(text));
    text = with_plain_lines(replaced(replaced(text, kLigatures), kWidths));
    text = composed(without_controls(text));
    if (text == before) return text;
  }
}

}  // namespace

std::u32string repaired(std::u32string_view text) {
  std::u32string result;
  bool unescapes = true;
  while (!text.empty()) {
    const std::u32string_view line = text.substr(0, std::min(text.find(U'\n'), text.size() - 1) + 1);
    text.remove_prefix(line.size());
    unescapes = unescapes && line.find(U'<') == std::u32string_view::npos;
    result += repaired_line(std::u32string(line), unescapes);
  }
  return result;
}

}  // namespace glint::detail
