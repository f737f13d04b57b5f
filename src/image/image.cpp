#include <glint/core/error.hpp>
#include <glint/core/tensor.hpp>
#include <glint/image/image.hpp>

#include <cmath>

namespace glint {
namespace {

constexpr int64_t kChannels = 3;
constexpr int64_t kMostPixels = int64_t{1} << 28;

void check(const Image& image) {
  GLINT_CHECK(image.width > 0 && image.height > 0 && image.width <= kMostPixels / image.height,
              InvalidArgument, "image: expected positive sizes, got {}x{}", image.width, image.height);
  GLINT_CHECK(image.pixels.size() == static_cast<size_t>(kChannels * image.width * image.height),
              InvalidArgument, "image: expected {} bytes of pixels, got {}",
              kChannels * image.width * image.height, image.pixels.size());
}

Image blank(int64_t width, int64_t height) {
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(kChannels * width * height))};
}

uint8_t to_byte(float unit) { return static_cast<uint8_t>(std::nearbyint(unit * 255.0f)); }

Image to_image(const float* planes, int64_t height, int64_t width) {
  Image image = blank(width, height);
  const int64_t plane = height * width;
  for (int64_t i = 0; i < plane; ++i) {
    for (int64_t c = 0; c < kChannels; ++c) {
      const float value = planes[c * plane + i] / 2.0f + 0.5f;
      GLINT_CHECK(!std::isnan(value), Numerical, "image: the value at row {}, column {} is not a number",
                  i / width, i % width);
      image.pixels[static_cast<size_t>(kChannels * i + c)] = to_byte(std::clamp(value, 0.0f, 1.0f));
    }
  }
  return image;
}

/// Weights of the four source pixels around an enlarged pixel's phase, and the first one's offset.
struct Phase {
  int64_t offset;
  std::array<float, 4> weights;
};

std::vector<Phase> phases(int64_t factor) {
  std::vector<Phase> result;
  for (int64_t i = 0; i < factor; ++i) {
    // Source position of enlarged pixel i's centre, relative to source pixel 0's.
    const double position = (static_cast<double>(i) + 0.5) / static_cast<double>(factor) - 0.5;
    const double base = std::floor(position), t = position - base;
    const std::array<double, 4> w{((-0.5 * t + 1.0) * t - 0.5) * t, (1.5 * t - 2.5) * t * t + 1.0,
                                  ((-1.5 * t + 2.0) * t + 0.5) * t, (0.5 * t - 0.5) * t * t};
    Phase phase{static_cast<int64_t>(base) - 1, {}};
    for (size_t k = 0; k < 4; ++k) phase.weights[k] = static_cast<float>(w[k]);
    result.push_back(phase);
  }
  return result;
}

/// Enlarges along one axis of `length` positions. Layout: value (outer, position, inner) with `inner` values
/// per position.
std::vector<float> enlarge_axis(const std::vector<float>& in, int64_t outer, int64_t length, int64_t inner,
                                const std::vector<Phase>& table) {
  const auto factor = static_cast<int64_t>(table.size());
  std::vector<float> out(in.size() * table.size());
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t p = 0; p < length * factor; ++p) {
      const auto& phase = table[static_cast<size_t>(p % factor)];
      float* target = out.data() + (o * length * factor + p) * inner;
      for (int64_t k = 0; k < 4; ++k) {
        const int64_t source = std::clamp<int64_t>(p / factor + phase.offset + k, 0, length - 1);
        const float* from = in.data() + (o * length + source) * inner;
        for (int64_t i = 0; i < inner; ++i) target[i] += phase.weights[static_cast<size_t>(k)] * from[i];
      }
    }
  }
  return out;
}

Image enlarge_smooth(const Image& image, int64_t factor) {
  const auto table = phases(factor);
  const std::vector<float> source(image.pixels.begin(), image.pixels.end());
  const auto wide = enlarge_axis(source, image.height, image.width, kChannels, table);
  const auto all = enlarge_axis(wide, 1, image.height, kChannels * image.width * factor, table);
  Image result = blank(image.width * factor, image.height * factor);
  std::transform(all.begin(), all.end(), result.pixels.begin(), [](float value) {
    return static_cast<uint8_t>(std::nearbyint(std::clamp(value, 0.0f, 255.0f)));
  });
  return result;
}

Image enlarge_nearest(const Image& image, int64_t factor) {
  Image result = blank(image.width * factor, image.height * factor);
  for (int64_t y = 0; y < result.height; ++y) {
    for (int64_t x = 0; x < result.width; ++x) {
      const auto from = image.pixels.begin() + kChannels * ((y / factor) * image.width + x / factor);
      std::copy_n(from, kChannels, result.pixels.begin() + kChannels * (y * result.width + x));
    }
  }
  return result;
}

void paste(Image& canvas, const Image& image, int64_t left, int64_t top) {
  for (int64_t y = 0; y < image.height; ++y)
    std::copy_n(image.pixels.begin() + kChannels * y * image.width, kChannels * image.width,
                canvas.pixels.begin() + kChannels * ((top + y) * canvas.width + left));
}

}  // namespace

std::vector<Image> to_images(const at::Tensor& pixels) {
  GLINT_CHECK(pixels.defined() && (pixels.dim() == 3 || pixels.dim() == 4) && pixels.size(-3) == kChannels,
              ShapeMismatch, "image: expected [3,H,W] or [B,3,H,W], got {}",
              pixels.defined() ? shape_string(pixels.sizes()) : "an undefined tensor");
  GLINT_CHECK(pixels.is_floating_point(), UnsupportedDtype, "image: expected floating point, got {}",
              at::toString(pixels.scalar_type()));
  const auto planes = pixels.detach().to(at::kCPU, at::kFloat).contiguous();
  const int64_t height = planes.size(-2), width = planes.size(-1);
  GLINT_CHECK(height > 0 && width > 0, ShapeMismatch, "image: expected positive sizes, got {}",
              shape_string(planes.sizes()));
  const int64_t count = planes.dim() == 4 ? planes.size(0) : 1;
  std::vector<Image> images;
  for (int64_t i = 0; i < count; ++i)
    images.push_back(
        to_image(planes.const_data_ptr<float>() + i * kChannels * height * width, height, width));
  return images;
}

at::Tensor to_tensor(const Image& image) {
  check(image);
  auto tensor = at::empty({kChannels, image.height, image.width}, at::TensorOptions().dtype(at::kFloat));
  const int64_t plane = image.height * image.width;
  float* values = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < kChannels * plane; ++i)
    values[(i % kChannels) * plane + i / kChannels] =
        static_cast<float>(image.pixels[static_cast<size_t>(i)]) / 127.5f - 1.0f;
  return tensor;
}

Image enlarge(const Image& image, int64_t factor, Enlarging how) {
  constexpr int64_t kLargest = 64;
  check(image);
  GLINT_CHECK(factor >= 1 && factor <= kLargest, InvalidArgument, "factor: expected 1 to {}, got {}",
              kLargest, factor);
  GLINT_CHECK(image.width * image.height <= kMostPixels / (factor * factor), InvalidArgument,
              "factor: {} times {}x{} is more than {} pixels", factor, image.width, image.height,
              kMostPixels);
  if (factor == 1) return image;
  return how == Enlarging::Smooth ? enlarge_smooth(image, factor) : enlarge_nearest(image, factor);
}

Image contact_sheet(std::span<const Image> images, const SheetOptions& options) {
  GLINT_CHECK(!images.empty(), InvalidArgument, "grid: expected at least one picture");
  GLINT_CHECK(options.columns >= 0, InvalidArgument, "columns: expected at least 0, got {}", options.columns);
  GLINT_CHECK(options.gap >= 0, InvalidArgument, "gap: expected at least 0, got {}", options.gap);
  const auto count = static_cast<int64_t>(images.size());
  const auto square = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  const int64_t columns = std::min(count, options.columns > 0 ? options.columns : square);
  const int64_t rows = (count + columns - 1) / columns;
  int64_t cell_width = 0, cell_height = 0;
  for (const auto& image : images) {
    check(image);
    cell_width = std::max(cell_width, image.width);
    cell_height = std::max(cell_height, image.height);
  }
  const int64_t gap = std::min(options.gap, kMostPixels);
  const double width = static_cast<double>(columns) * static_cast<double>(cell_width + gap);
  const double height = static_cast<double>(rows) * static_cast<double>(cell_height + gap);
  GLINT_CHECK(width * height <= static_cast<double>(kMostPixels), InvalidArgument,
              "grid: more than {} pixels", kMostPixels);
  Image canvas = blank(columns * (cell_width + gap) - gap, rows * (cell_height + gap) - gap);
  for (size_t i = 0; i < canvas.pixels.size(); ++i) canvas.pixels[i] = options.background[i % kChannels];
  for (int64_t i = 0; i < count; ++i)
    paste(canvas, images[static_cast<size_t>(i)], (i % columns) * (cell_width + gap),
          (i / columns) * (cell_height + gap));
  return canvas;
}

}  // namespace glint
