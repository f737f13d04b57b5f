#include <glint/attention/token_order.hpp>
#include <glint/core/error.hpp>

#include <algorithm>
#include <cmath>

namespace glint {
namespace {

struct Band {
  int64_t begin, end;
};

/// Cuts [0, size) into bands of about `thickness`, as even as possible.
std::vector<Band> bands(int64_t size, int64_t thickness) {
  const int64_t count = std::max<int64_t>(1, (size + thickness / 2) / thickness);
  std::vector<Band> result;
  for (int64_t i = 0; i < count; ++i) result.push_back({size * i / count, size * (i + 1) / count});
  return result;
}

}  // namespace

std::vector<int64_t> token_order(int64_t frames, int64_t height, int64_t width, int64_t block_size) {
  GLINT_CHECK(frames > 0 && height > 0 && width > 0, InvalidArgument,
              "token_order: expected positive sizes, got {} x {} x {}", frames, height, width);
  GLINT_CHECK(block_size > 0, InvalidArgument, "block_size: expected a positive number, got {}", block_size);
  const double dimensions = frames > 1 ? 3.0 : 2.0;
  const auto edge = static_cast<int64_t>(
      std::max(1.0, std::round(std::pow(static_cast<double>(block_size), 1.0 / dimensions))));

  std::vector<int64_t> order;
  order.reserve(static_cast<size_t>(frames * height * width));
  bool down = true, right = true;
  for (const Band& f : bands(frames, frames > 1 ? edge : 1)) {
    auto rows = bands(height, edge);
    if (!down) std::reverse(rows.begin(), rows.end());
    for (const Band& r : rows) {
      for (int64_t i = 0; i < width; ++i) {
        const int64_t x = right ? i : width - 1 - i;
        for (int64_t t = f.begin; t < f.end; ++t)
          for (int64_t y = r.begin; y < r.end; ++y) order.push_back((t * height + y) * width + x);
      }
      right = !right;
    }
    down = !down;
  }
  return order;
}

}  // namespace glint
