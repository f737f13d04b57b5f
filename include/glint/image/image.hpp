// Pictures as bytes: from the decoder's tensors, enlarged, laid out side by side.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace glint {

/// A picture: rows from the top, pixels from the left, bytes R, G, B.
struct Image {
  int64_t width = 0;                 ///< px
  int64_t height = 0;                ///< px
  std::vector<uint8_t> pixels = {};  ///< 3 * width * height bytes

  friend bool operator==(const Image&, const Image&) = default;
};

/// Returns the pictures of a tensor with values in [-1,1]: round(clamp(x / 2 + 0.5, 0, 1) * 255), ties to
/// even, as diffusers has it.
/// Shapes:  [3,H,W] gives one picture, [B,3,H,W] gives B. Any floating dtype, any device.
/// Errors:  ShapeMismatch, UnsupportedDtype; Numerical if a value is not a number.
GLINT_API std::vector<Image> to_images(const at::Tensor& pixels);

/// Returns a picture as a [3,H,W] float32 tensor with values in [-1,1].
GLINT_API at::Tensor to_tensor(const Image& image);

enum class Enlarging {
  Nearest,  ///< every pixel a square
  Smooth    ///< cubic interpolation (Catmull-Rom), clamped at the borders
};

/// Returns `image` with each side `factor` times as long.
/// Errors:  InvalidArgument if factor is not 1 to 64 or the result exceeds 2^28 pixels.
/// Source:  Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -1/2.
GLINT_API Image enlarge(const Image& image, int64_t factor, Enlarging how = Enlarging::Smooth);

struct SheetOptions {
  int64_t columns = 0;  ///< 0: as square as can be
  int64_t gap = 0;      ///< px between pictures
  std::array<uint8_t, 3> background = {255, 255, 255};
};

/// Returns the pictures row by row in one, cells as large as the largest picture, each at its cell's top
/// left.
/// Errors:  InvalidArgument if there is no picture, or for negative options.
GLINT_API Image contact_sheet(std::span<const Image> images, const SheetOptions& options = {});

}  // namespace glint
