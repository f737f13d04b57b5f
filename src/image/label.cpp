#include <glint/core/error.hpp>
#include <glint/image/label.hpp>

#include <algorithm>

namespace glint {
namespace {

constexpr int64_t kGlyphWidth = 5, kGlyphRows = 7;

/// The glyphs from space to ~: 7 rows of 5 bits, top to bottom and left to right, the first in the highest
/// bits.
constexpr std::array<uint64_t, 95> kGlyphs = {
    0x000000000, 0x108421004, 0x294A00000, 0x295F57D4A, 0x11F4717C4, 0x632222263, 0x32544564D, 0x108800000,
    0x088842082, 0x208210888, 0x009575480, 0x0084F9080, 0x000003088, 0x0000F8000, 0x00000018C, 0x042222210,
    0x3A33AE62E, 0x11842108E, 0x3A211111F, 0x7C441062E, 0x08CA97C42, 0x7E1E0862E, 0x1910F462E, 0x7C2222108,
    0x3A317462E, 0x3A317844C, 0x018C03180, 0x018C03088, 0x088882082, 0x001F07C00, 0x208208888, 0x3A2111004,
    0x3A37ADE0E, 0x3A31FC631, 0x7A31F463E, 0x3A308422E, 0x72518C65C, 0x7E10F421F, 0x7E10F4210, 0x3A30BC62F,
    0x4631FC631, 0x38842108E, 0x1C4210A4C, 0x4654C5251, 0x42108421F, 0x4775AC631, 0x4639ACE31, 0x3A318C62E,
    0x7A31F4210, 0x3A318D64D, 0x7A31F5251, 0x3E107043E, 0x7C8421084, 0x46318C62E, 0x46318C544, 0x4631AD771,
    0x462A22A31, 0x462A21084, 0x7C222221F, 0x39084210E, 0x420820821, 0x38421084E, 0x115100000, 0x00000001F,
    0x208200000, 0x000E0BE2F, 0x4216CC63E, 0x000E8422E, 0x042D9C62F, 0x000E8FE0E, 0x1928E2108, 0x01F18BC2E,
    0x4216CC631, 0x100C2108E, 0x080610A4C, 0x4212A6292, 0x30842108E, 0x001AAD6B5, 0x0016CC631, 0x000E8C62E,
    0x001E8FA10, 0x000D9BC21, 0x0016CC210, 0x000E8383E, 0x211C42126, 0x00118C66D, 0x00118C544, 0x00118D6AA,
    0x001151151, 0x00118BC2E, 0x001F1111F, 0x088441082, 0x108421084, 0x208411088, 0x0008A8800,
};
constexpr uint64_t kBox = 0x7E318C63F;  // other characters

uint64_t glyph_of(unsigned char c) { return c >= 32 && c < 127 ? kGlyphs[c - 32U] : kBox; }

/// Returns how far below the line a character hangs, px: otherwise g would be a 9.
int64_t drop_of(char c) { return std::string_view("gjpqy,;").find(c) == std::string_view::npos ? 0 : 1; }

bool is_continuation(unsigned char c) { return (c & 0xC0U) == 0x80U; }

void draw_square(Image& image, int64_t x, int64_t y, int64_t side, const std::array<uint8_t, 3>& colour) {
  for (int64_t py = std::max<int64_t>(y, 0); py < std::min(y + side, image.height); ++py)
    for (int64_t px = std::max<int64_t>(x, 0); px < std::min(x + side, image.width); ++px)
      std::copy(colour.begin(), colour.end(),
                image.pixels.begin() + static_cast<std::ptrdiff_t>(3 * (py * image.width + px)));
}

/// Returns where to break a text that is longer than `most`: behind the last space, else behind the last
/// : , or +, else at `most`.
size_t break_of(std::string_view text, size_t most) {
  const size_t space = text.substr(0, most + 1).rfind(' ');
  if (space != text.npos && space > 0) return space + 1;
  const size_t mark = text.substr(0, most).find_last_of(":,+");
  return mark != text.npos ? mark + 1 : most;
}

}  // namespace

void draw_text(Image& image, int64_t x, int64_t y, std::string_view text, int64_t scale,
               const std::array<uint8_t, 3>& colour) {
  GLINT_CHECK(scale >= 1, InvalidArgument, "scale: expected at least 1, got {}", scale);
  for (const char c : text) {
    if (is_continuation(static_cast<unsigned char>(c))) continue;  // a character of several bytes is one box
    const uint64_t glyph = glyph_of(static_cast<unsigned char>(c));
    for (int64_t bit = 0; bit < kGlyphWidth * kGlyphRows; ++bit)
      if ((glyph >> (kGlyphWidth * kGlyphRows - 1 - bit)) & 1U)
        draw_square(image, x + bit % kGlyphWidth * scale, y + (bit / kGlyphWidth + drop_of(c)) * scale, scale,
                    colour);
    x += kTextAdvance * scale;
  }
}

std::vector<std::string> wrapped(std::string_view text, int64_t characters) {
  GLINT_CHECK(characters >= 1, InvalidArgument, "characters: expected at least 1, got {}", characters);
  const auto most = static_cast<size_t>(characters);
  std::vector<std::string> lines;
  while (text.size() > most) {
    const size_t end = break_of(text, most);
    std::string line(text.substr(0, end));
    while (line.size() > 1 && line.back() == ' ') line.pop_back();
    lines.push_back(std::move(line));
    text.remove_prefix(end);
  }
  lines.emplace_back(text);
  return lines;
}

Image labelled(const Image& image, const std::vector<std::string>& lines, int64_t scale) {
  GLINT_CHECK(scale >= 1, InvalidArgument, "scale: expected at least 1, got {}", scale);
  const auto rows = static_cast<int64_t>(lines.size());
  constexpr int64_t kMargin = 2;  // px above the first line
  const int64_t height = image.height + (rows > 0 ? kMargin + rows * kTextHeight : 0) * scale;
  Image result{image.width, height, image.pixels};
  result.pixels.resize(static_cast<size_t>(3 * image.width * height), 255);
  for (int64_t i = 0; i < rows; ++i)
    draw_text(result, 0, image.height + (kMargin + i * kTextHeight) * scale, lines[static_cast<size_t>(i)],
              scale);
  return result;
}

}  // namespace glint
