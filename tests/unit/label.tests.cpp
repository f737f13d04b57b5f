// Text on images.
#include <glint/image/label.hpp>

#include "tests/support/files.hpp"

#include <set>

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;
using Lines = std::vector<std::string>;

Image white(int64_t width, int64_t height) {
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(3 * width * height), 255)};
}

/// The image as rows of # and spaces.
Lines drawn(const Image& image) {
  Lines rows;
  for (int64_t y = 0; y < image.height; ++y) {
    rows.emplace_back();
    for (int64_t x = 0; x < image.width; ++x)
      rows.back() += image.pixels[static_cast<size_t>(3 * (y * image.width + x))] == 0 ? '#' : ' ';
  }
  return rows;
}

TEST_CASE("A glyph is what it looks like", "[unit]") {
  Image image = white(12, 8);
  draw_text(image, 0, 0, "R2");
  CHECK(drawn(image) == Lines{"####   ###  ", "#   # #   # ", "#   #     # ", "####     #  ", "# #     #   ",
                              "#  #   #    ", "#   # ##### ", "            "});
}

TEST_CASE("Every printable character has a glyph of its own, and others are a box", "[unit]") {
  std::set<Lines> glyphs;
  for (char c = ' '; c <= '~'; ++c) {
    Image image = white(6, 9);
    draw_text(image, 0, 0, std::string(1, c));
    glyphs.insert(drawn(image));
  }
  CHECK(glyphs.size() == 95);
  Image accented = white(12, 9), control = white(12, 9);
  draw_text(accented, 0, 0, "\xC3\xA9.");  // two bytes are one character
  draw_text(control, 0, 0, "\x01.");
  CHECK(drawn(accented) == drawn(control));
  CHECK(drawn(accented)[0] == "#####       ");
}

TEST_CASE("Text is enlarged, and cut at the image's edges", "[unit]") {
  Image small = white(5, 7), large = white(10, 14);
  draw_text(small, 0, 0, "A");
  draw_text(large, 0, 0, "A", 2);
  const Lines rows = drawn(large);
  for (size_t y = 0; y < 14; ++y)
    for (size_t x = 0; x < 10; ++x) CHECK(rows[y][x] == drawn(small)[y / 2][x / 2]);
  Image cut = white(3, 3);
  draw_text(cut, -2, -3, "A");
  draw_text(cut, 100, 100, "A");
  CHECK(drawn(cut) == Lines{"###", "  #", "  #"});
  CHECK_THAT(test::failure([&] { draw_text(cut, 0, 0, "A", 0); }), Contains("scale"));
}

TEST_CASE("Lines are broken at spaces, then at punctuation, then anywhere", "[unit]") {
  CHECK(wrapped("one two three", 8) == Lines{"one two", "three"});
  CHECK(wrapped("z-sampling:guidance=0,merge=1", 16) == Lines{"z-sampling:", "guidance=0,", "merge=1"});
  CHECK(wrapped("abcdefgh", 3) == Lines{"abc", "def", "gh"});
  CHECK(wrapped("exactly", 7) == Lines{"exactly"});
  CHECK(wrapped("", 4) == Lines{""});
  CHECK_THAT(test::failure([] { wrapped("a", 0); }), Contains("characters"));
}

TEST_CASE("A label is below its image", "[unit]") {
  const Image image{2, 1, {9, 9, 9, 8, 8, 8}};
  const Image with = labelled(image, {"A", "B"});
  CHECK(with.width == 2);
  CHECK(with.height == 1 + 2 + 2 * kTextHeight);
  CHECK(std::vector<uint8_t>(with.pixels.begin(), with.pixels.begin() + 6) == image.pixels);
  CHECK(labelled(image, {}) == image);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
