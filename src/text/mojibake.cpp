#include "text/mojibake.hpp"

#include "text/mojibake_tables.hpp"
#include "text/unicode.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

namespace glint::detail {
namespace {

constexpr char32_t kReplacement = 0xFFFD, kSubstitute = 0x1A;

/// Sequences of classes of characters.
class Pattern {
 public:
  Pattern(std::span<const ClassSpan> spans, std::span<const std::string_view> sequences, uint64_t others,
          uint64_t spaces = 0, uint64_t words = 0)
      : spans_(spans), sequences_(sequences), others_(others), spaces_(spaces), words_(words) {}

  /// Returns the classes that a character belongs to.
  uint64_t classes(char32_t c) const {
    const auto after = std::upper_bound(spans_.begin(), spans_.end(), c,
                                        [](char32_t x, const ClassSpan& span) { return x < span.first; });
    uint64_t found = others_;
    if (after != spans_.begin() && c <= std::prev(after)->last) found = std::prev(after)->classes;
    if (spaces_ != 0 && (is_space(c) || (c >= 0x1C && c <= 0x1F))) found |= spaces_;
    if (words_ != 0 && (is_letter(c) || is_number(c) || c == '_')) found |= words_;
    return found;
  }

  /// Returns the length of the first sequence that the text has at `at`, 0 if there is none.
  template <typename Text>
  size_t match(const Text& text, size_t at) const {
    for (std::string_view sequence : sequences_) {
      if (sequence.front() == '^') {
        if (at != 0) continue;
        sequence.remove_prefix(1);
      }
      if (text.size() - at < sequence.size()) continue;
      size_t i = 0;
      while (i < sequence.size() && (classes(point(text[at + i])) >> number(sequence[i]) & 1) != 0) ++i;
      if (i == sequence.size()) return i;
    }
    return 0;
  }

  template <typename Text>
  bool found_in(const Text& text) const {
    for (size_t at = 0; at < text.size(); ++at)
      if (match(text, at) > 0) return true;
    return false;
  }

 private:
  static char32_t point(char32_t c) { return c; }
  static char32_t point(char byte) { return static_cast<unsigned char>(byte); }
  static int number(char letter) {
    if (letter >= 'A' && letter <= 'Z') return letter - 'A';
    if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
    return letter >= '0' && letter <= '9' ? letter - '0' + 52 : letter == '+' ? 62 : 63;
  }

  std::span<const ClassSpan> spans_;
  std::span<const std::string_view> sequences_;
  uint64_t others_, spaces_, words_;
};

const Pattern& detector() {
  static const Pattern pattern(kDetectorSpans, kDetectorSequences, kDetectorOthers);
  return pattern;
}

bool is_bad(std::u32string_view text) {
  static const Pattern bad(kBadSpans, kBadSequences, kBadOthers, kBadSpaces, kBadWords);
  static const Pattern worse(kWorseSpans, kWorseSequences, kWorseOthers, kWorseSpaces, kWorseWords);
  return bad.found_in(text) || worse.found_in(text);
}

bool is_sloppy(size_t page) { return page >= kFirstSloppy && page <= kLastSloppy; }

/// Returns the bytes that a code page's text was decoded from; nothing if it has other characters.
std::optional<std::string> encoded(std::u32string_view text, size_t page) {
  std::string bytes;
  for (const char32_t c : text) {
    if (c < 0x80 && !(c == kSubstitute && is_sloppy(page))) {
      bytes += static_cast<char>(c);
      continue;
    }
    const size_t at = kCodePages[page].find(c);
    if (at != std::u32string_view::npos)
      bytes += static_cast<char>(0x80 + at);
    else if (c == kReplacement && is_sloppy(page))
      bytes += static_cast<char>(kSubstitute);
    else
      return std::nullopt;
  }
  return bytes;
}

/// Puts back bytes 0xA0 that became spaces where the result would be UTF-8.
std::string with_no_break_spaces(std::string_view bytes) {
  // The word "a grave" keeps its space, except in Portuguese contractions.
  std::string words;
  for (size_t i = 0; i < bytes.size(); ++i) {
    words += bytes[i];
    if (bytes[i] != '\xC3' || i + 1 == bytes.size() || bytes[i + 1] != ' ') continue;
    const std::string_view rest = bytes.substr(i + 2);
    const auto goes_on = [&](const char* start) { return rest.starts_with(start); };
    const bool part =
        goes_on(" ") || goes_on("quele") || goes_on("quela") || goes_on("quilo") || goes_on("s ");
    if (!part) words += '\xA0';
  }
  static const Pattern altered(kAlteredSpans, kAlteredSequences, kAlteredOthers);
  for (size_t at = 0; at < words.size();) {
    const size_t length = altered.match(words, at);
    for (size_t i = 0; i < length; ++i)
      if (words[at + i] == ' ') words[at + i] = '\xA0';
    at += std::max<size_t>(length, 1);
  }
  return words;
}

/// Replaces sequences of UTF-8 that lost bytes by that of U+FFFD.
std::string without_losses(const std::string& bytes) {
  static const Pattern lossy(kLossySpans, kLossySequences, kLossyOthers);
  std::string out;
  for (size_t at = 0; at < bytes.size();) {
    const size_t length = lossy.match(bytes, at);
    if (length > 0)
      out += "\xEF\xBF\xBD";
    else
      out += bytes[at];
    at += std::max<size_t>(length, 1);
  }
  return out;
}

/// Returns the character that strict UTF-8 has at `at`, which moves behind it; nothing if there is none.
std::optional<char32_t> next_point(std::string_view bytes, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned first = byte(at);
  if (first < 0x80) return bytes[at++];
  const size_t more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  if (first < 0xC2 || first > 0xF4 || bytes.size() - at <= more) return std::nullopt;
  char32_t point = first & (0x3Fu >> more);
  for (size_t i = 1; i <= more; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return std::nullopt;
    point = point << 6 | (byte(at + i) & 0x3F);
  }
  const char32_t least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
  if (point < least || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return std::nullopt;
  at += more + 1;
  return point;
}

/// Returns the character of a pair of surrogates in UTF-8 (CESU-8) at `at`; nothing if there is none.
std::optional<char32_t> next_pair(std::string_view bytes, size_t at) {
  if (bytes.size() - at < 6) return std::nullopt;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[at + i]); };
  const auto continues = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  if (byte(0) != 0xED || byte(3) != 0xED || (byte(1) & 0xF0) != 0xA0 || (byte(4) & 0xF0) != 0xB0 ||
      !continues(2) || !continues(5))
    return std::nullopt;
  return ((byte(1) & 0x0Fu) << 16) + ((byte(2) & 0x3Fu) << 10) + ((byte(4) & 0x0Fu) << 6) +
         (byte(5) & 0x3Fu) + 0x10000;
}

/// Decodes UTF-8, and the variants of it that have pairs of surrogates or Java's two bytes of U+0000.
std::optional<std::u32string> decoded(std::string_view bytes) {
  const bool variants = bytes.find_first_of("\xED\xC0") != std::string_view::npos;
  std::u32string text;
  for (size_t at = 0; at < bytes.size();) {
    if (variants && bytes.substr(at).starts_with("\xC0\x80")) {
      text += U'\0';
      at += 2;
    } else if (const auto pair = variants ? next_pair(bytes, at) : std::nullopt) {
      text += *pair;
      at += 6;
    } else {
      const auto point = next_point(bytes, at);
      if (!point) return std::nullopt;
      text += *point;
    }
  }
  return text;
}

/// Returns the text with the pieces decoded that look like UTF-8 by themselves.
std::u32string with_pieces_decoded(std::u32string_view text) {
  std::u32string out;
  for (size_t at = 0; at < text.size();) {
    const bool behind = at > 0 && (detector().classes(text[at - 1]) & 1) != 0;
    size_t length = 0;
    while (!behind && at + length < text.size()) {
      const size_t more = detector().match(text, at + length);
      if (more == 0) break;
      length += more;
    }
    const std::u32string_view piece = text.substr(at, std::max<size_t>(length, 1));
    // A piece as long as the text would be taken apart for ever.
    if (length > 0 && length < text.size() && is_bad(piece))
      out += without_mojibake(piece);
    else
      out += piece;
    at += piece.size();
  }
  return out;
}

/// Returns Latin-1 read as Windows-1252; nothing if it has bytes that Windows-1252 lacks.
std::optional<std::u32string> as_windows(std::u32string_view text) {
  std::u32string out;
  for (const char32_t c : text) {
    const bool c1 = c >= 0x80 && c <= 0x9F;
    const char32_t meant = c1 ? kCodePages[kWindows1252][c - 0x80] : c;
    if (c1 && meant == c) return std::nullopt;
    out += meant;
  }
  return out;
}

std::u32string one_step(std::u32string_view text) {
  const bool ascii = std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x80; });
  if (ascii || !is_bad(text)) return std::u32string(text);
  bool latin = false;
  for (size_t page = 0; page < kCodePages.size(); ++page) {
    std::optional<std::string> bytes = encoded(text, page);
    if (!bytes) continue;
    latin = latin || page == kLatin1;
    static const Pattern altered(kAlteredSpans, kAlteredSequences, kAlteredOthers);
    if (page != kMacRoman && altered.found_in(*bytes)) bytes = with_no_break_spaces(*bytes);
    if (is_sloppy(page)) bytes = without_losses(*bytes);
    if (auto meant = decoded(*bytes)) return *std::move(meant);
  }
  std::u32string pieces = with_pieces_decoded(text);
  if (pieces != text) return pieces;
  if (latin)
    if (auto meant = as_windows(text); meant && *meant != text) return *std::move(meant);
  return without_c1_controls(text);
}

}  // namespace

std::u32string without_mojibake(std::u32string_view text) {
  std::u32string result(text);
  for (;;) {
    std::u32string next = one_step(result);
    if (next == result) return result;
    result = std::move(next);
  }
}

std::u32string without_c1_controls(std::u32string_view text) {
  std::u32string out(text);
  for (char32_t& c : out)
    if (c >= 0x80 && c <= 0x9F) c = kCodePages[kWindows1252][c - 0x80];
  return out;
}

}  // namespace glint::detail
