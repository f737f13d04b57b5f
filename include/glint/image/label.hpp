// Text on images, in a small built-in bitmap font.
#pragma once

#include <glint/export.hpp>
#include <glint/image/image.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

constexpr int64_t kTextAdvance = 6;  ///< px from one character to the next, at scale 1
constexpr int64_t kTextHeight = 9;   ///< px from one line to the next, at scale 1

/// Draws a line of text with its top left corner at (x, y); what lies outside the image is not drawn. The
/// font has printable ASCII; any other character is drawn as a box.
/// Errors:  InvalidArgument if scale < 1.
GLINT_API void draw_text(Image& image, int64_t x, int64_t y, std::string_view text, int64_t scale = 1,
                         const std::array<uint8_t, 3>& colour = {0, 0, 0});

/// Breaks text into lines of at most `characters`: at spaces, else behind the punctuation : , + or anywhere.
/// Errors:  InvalidArgument if characters < 1.
GLINT_API std::vector<std::string> wrapped(std::string_view text, int64_t characters);

/// Returns the image with lines of text below it, on white.   Errors: as draw_text.
GLINT_API Image labelled(const Image& image, const std::vector<std::string>& lines, int64_t scale = 1);

}  // namespace glint
