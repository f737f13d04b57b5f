#include "core/utf8.hpp"

#include <glint/io/utf8.hpp>

#include <utf8proc.h>

#include <fmt/format.h>

#include <cstdint>

namespace glint {
namespace {

/// The character at the front of a text; without a point if its first byte is not UTF-8.
struct Character {
  size_t bytes;
  std::optional<uint32_t> point;
};

Character front(std::string_view text) {
  utf8proc_int32_t point = 0;
  const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                       static_cast<utf8proc_ssize_t>(text.size()), &point);
  if (length <= 0) return {.bytes = 1, .point = std::nullopt};
  return {.bytes = static_cast<size_t>(length), .point = static_cast<uint32_t>(point)};
}

bool is_control(uint32_t point) { return (point < 0x20 && point != '\n') || (point >= 0x7F && point < 0xA0); }

/// Line and paragraph separators, and what turns the direction of the text around it.
bool reorders(uint32_t point) {
  return point == 0x061C || point == 0x200E || point == 0x200F || (point >= 0x2028 && point <= 0x202E) ||
         (point >= 0x2066 && point <= 0x2069);
}

size_t columns_of(const Character& character) {
  return character.point
             ? static_cast<size_t>(utf8proc_charwidth(static_cast<utf8proc_int32_t>(*character.point)))
             : 1;
}

template <typename Escape>
std::string escaped(std::string_view text, const Escape& escape) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const Character c = front(text);
    if (c.point && !is_control(*c.point) && !reorders(*c.point))
      result += text.substr(0, c.bytes);
    else
      result += escape(c, static_cast<uint8_t>(text[0]));
    text.remove_prefix(c.bytes);
  }
  return result;
}

}  // namespace

std::optional<size_t> invalid_utf8_offset(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = detail::utf8_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::nullopt;
}

std::string printable(std::string_view text) {
  return escaped(text, [](const Character& c, uint8_t byte) {
    if (!c.point) return fmt::format("\\x{:02x}", byte);
    return *c.point < 0x100 ? fmt::format("\\x{:02x}", *c.point) : fmt::format("\\u{:04x}", *c.point);
  });
}

std::string printable_json(std::string_view json) {
  return escaped(
      json, [](const Character& c, uint8_t) { return fmt::format("\\u{:04x}", c.point.value_or(0xFFFD)); });
}

size_t columns_of(std::string_view text) {
  size_t columns = 0;
  for (; !text.empty(); text.remove_prefix(front(text).bytes)) columns += columns_of(front(text));
  return columns;
}

std::string shortened(std::string_view text, size_t columns) {
  constexpr std::string_view kDots = "...";
  if (columns_of(text) <= columns) return std::string(text);
  const size_t room = columns - std::min(columns, kDots.size());
  size_t kept = 0, used = 0;
  while (kept < text.size()) {
    const Character c = front(text.substr(kept));
    if (used + columns_of(c) > room) break;
    used += columns_of(c);
    kept += c.bytes;
  }
  return std::string(text.substr(0, kept)) + std::string(kDots.substr(0, std::min(columns, kDots.size())));
}

}  // namespace glint
