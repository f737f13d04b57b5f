// 8-bit images: conversion from and to tensors, enlarging, contact sheets.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace glint {

/// An 8-bit RGB image, rows top to bottom, pixels left to right.
struct Image {
  int64_t width = 0;                 ///< px
  int64_t height = 0;                ///< px
  std::vector<uint8_t> pixels = {};  ///< 3 * width * height bytes

  friend bool operator==(const Image&, const Image&) = default;
};

/// Converts values in [-1,1] to images: round(clamp(x / 2 + 0.5, 0, 1) * 255), ties to even, as in diffusers.
/// Shapes:  [3,H,W] gives one image, [B,3,H,W] gives B. Any floating dtype, any device.
/// Errors:  ShapeMismatch, UnsupportedDtype; Numerical for NaN.
GLINT_API std::vector<Image> to_images(const at::Tensor& pixels);

/// Returns an image as a [3,H,W] float32 tensor with values in [-1,1].
GLINT_API at::Tensor to_tensor(const Image& image);

enum class Enlarging {
  Nearest,  ///< each pixel becomes a square
  Smooth    ///< cubic interpolation (Catmull-Rom), clamped at the borders
};

/// Returns `image` with both sides `factor` times as long.
/// Errors:  InvalidArgument if factor is not 1 to 64 or the result exceeds 2^28 pixels.
/// Source:  Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -1/2.
GLINT_API Image enlarge(const Image& image, int64_t factor, Enlarging how = Enlarging::Smooth);

struct SheetOptions {
  int64_t columns = 0;  ///< 0 = as square as possible
  int64_t gap = 0;      ///< px between images
  std::array<uint8_t, 3> background = {255, 255, 255};
};

/// Lays the images out row by row, each at the top left of a cell the size of the largest image.
/// Errors:  InvalidArgument if there are no images, or for negative options.
GLINT_API Image contact_sheet(std::span<const Image> images, const SheetOptions& options = {});

}  // namespace glint
