#include "text/html_references.hpp"

#include "text/html_entities.hpp"
#include "text/mojibake_tables.hpp"
#include "text/unicode.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace glint::detail {
namespace {

constexpr size_t kLongestName = 32;  // as in Python's html module

struct Entity {
  std::string_view name, points;
  bool bare;  ///< also valid without its semicolon
};

/// The table, sorted by name.
const std::vector<Entity>& entities() {
  static const std::vector<Entity> all = [] {
    std::vector<Entity> found;
    std::string_view rest = kHtmlEntities;
    while (!rest.empty()) {
      const std::string_view entry = rest.substr(0, rest.find(' '));
      const size_t at = entry.find_first_of(".:");
      found.push_back({entry.substr(0, at), entry.substr(at + 1), entry[at] == '.'});
      rest.remove_prefix(entry.size() + 1);
    }
    return found;
  }();
  return all;
}

/// Returns the entity of that name, or null.
const Entity* find_entity(std::string_view name) {
  const auto& all = entities();
  const auto found = std::lower_bound(all.begin(), all.end(), name,
                                      [](const Entity& e, std::string_view n) { return e.name < n; });
  return found != all.end() && found->name == name ? &*found : nullptr;
}

std::u32string text_of(const Entity& entity) {
  std::u32string text;
  std::string_view rest = entity.points;
  while (!rest.empty()) {
    uint32_t point = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), point, 16);
    text += static_cast<char32_t>(point);
    rest.remove_prefix(std::min(rest.size(), static_cast<size_t>(end - rest.data()) + 1));
  }
  return text;
}

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

/// A name with its semicolon, or else the longest beginning that is valid without one.
std::optional<Reference> named(std::u32string_view text) {
  std::string run;
  for (const char32_t c : text.substr(1)) {
    const bool ends =
        c == '\t' || c == '\n' || c == '\f' || c == ' ' || c == '<' || c == '&' || c == '#' || c == ';';
    if (ends || run.size() == kLongestName) break;
    run += c < 0x80 ? static_cast<char>(c) : '?';  // no name has either
  }
  const size_t end = 1 + run.size();
  if (end < text.size() && text[end] == ';')
    if (const Entity* entity = find_entity(run)) return Reference{text_of(*entity), end + 1};
  for (; run.size() >= 2; run.pop_back()) {
    const Entity* entity = find_entity(run);
    if (entity && entity->bare) return Reference{text_of(*entity), 1 + run.size()};
  }
  return std::nullopt;
}

/// Returns what an entity's name in capitals means, empty if nothing: the capital of the small name's letter.
std::u32string capital_meaning(const std::string& name) {
  const auto found = std::find_if(kUpperEntities.begin(), kUpperEntities.end(),
                                  [&](const auto& e) { return e.name == name; });
  if (found != kUpperEntities.end()) return std::u32string(found->text);
  std::string small = name;
  for (char& c : small) {
    if (c >= 'a' && c <= 'z') return {};
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  const Entity* entity = find_entity(small);
  return entity ? upper_case(text_of(*entity)) : std::u32string{};
}

bool is_alphanumeric(char32_t c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// Returns the length of a reference at the front of a text that ends with its semicolon; 0 if there is none.
size_t whole_reference(std::u32string_view text) {
  constexpr size_t kLongest = 24;
  size_t at = text.size() > 1 && text[1] == '#' ? 2 : 1;
  const size_t first = at;
  while (at < text.size() && at - first < kLongest && is_alphanumeric(text[at])) ++at;
  return at > first && at < text.size() && text[at] == ';' ? at + 1 : 0;
}

}  // namespace

std::u32string unescaped(std::u32string_view text) {
  std::u32string result;
  while (!text.empty()) {
    std::optional<Reference> found;
    if (text.size() > 1 && text[0] == '&') found = text[1] == '#' ? numbered(text) : named(text);
    result += found ? found->meaning : std::u32string(1, text[0]);
    text.remove_prefix(found ? found->length : 1);
  }
  return result;
}

std::u32string unescaped_whole(std::u32string_view text) {
  std::u32string result;
  while (!text.empty()) {
    const size_t length = text[0] == '&' ? whole_reference(text) : 0;
    if (length == 0) {
      result += text[0];
      text.remove_prefix(1);
      continue;
    }
    const std::u32string_view reference = text.substr(0, length);
    text.remove_prefix(length);
    const std::u32string plain = unescaped(reference);
    if (reference[1] == '#') {
      // One that leaves its semicolon, or is one, was not a number.
      result += plain.find(U';') == std::u32string::npos ? plain : std::u32string(reference);
      continue;
    }
    std::string name;
    for (const char32_t c : reference.substr(1, length - 2)) name += static_cast<char>(c);
    const Entity* entity = find_entity(name);
    std::u32string meaning = entity ? text_of(*entity) : std::u32string{};
    if (!entity && plain == reference) meaning = capital_meaning(name);
    result += meaning.empty() ? std::u32string(reference) : meaning;
  }
  return result;
}

}  // namespace glint::detail
