#include "vae/tiles.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/lerp.h>

namespace glint::detail {
namespace {

constexpr int64_t kDown = -2, kRight = -1;

int64_t stride(int64_t side) { return side / 4 * 3; }
int64_t overlap(int64_t side) { return side / 4; }

/// Returns the last `count` rows or columns.
at::Tensor ending(const at::Tensor& tile, int64_t dimension, int64_t count) {
  const int64_t size = tile.size(dimension), kept = std::min(size, count);
  return tile.narrow(dimension, size - kept, kept);
}

/// Returns `tile` blended into the neighbour's overlapping end.
at::Tensor faded_in(const at::Tensor& neighbour, const at::Tensor& tile, int64_t dimension) {
  const int64_t size = tile.size(dimension), extent = std::min(neighbour.size(dimension), size);
  at::Tensor weight = at::arange(extent, tile.options()).div(static_cast<double>(extent));
  if (dimension == kDown) weight = weight.unsqueeze(1);
  const at::Tensor mixed =
      at::lerp(ending(neighbour, dimension, extent), tile.narrow(dimension, 0, extent), weight);
  return at::cat({mixed, tile.narrow(dimension, extent, size - extent)}, dimension);
}

}  // namespace

bool needs_tiles(const at::Tensor& input, const TileSides& sides) {
  return sides.in > 0 && (input.size(kDown) > sides.in || input.size(kRight) > sides.in);
}

int64_t tile_count(const at::Tensor& input, const TileSides& sides) {
  const int64_t step = stride(sides.in);
  return ((input.size(kDown) + step - 1) / step) * ((input.size(kRight) + step - 1) / step);
}

at::Tensor in_tiles(const at::Tensor& input, const TileSides& sides,
                    const std::function<at::Tensor(const at::Tensor&)>& run) {
  const int64_t height = input.size(kDown), width = input.size(kRight), step = stride(sides.in);
  const int64_t limit = stride(sides.out), margin = overlap(sides.out);
  at::Tensor result;
  std::vector<at::Tensor> above;  // the bottom rows of the tiles above, already blended
  for (int64_t top = 0, y = 0; top < height; top += step, y += limit) {
    std::vector<at::Tensor> below;
    at::Tensor left;  // the last columns of the tile to the left
    for (int64_t start = 0, x = 0; start < width; start += step, x += limit) {
      const at::Tensor piece = input.narrow(kDown, top, std::min(sides.in, height - top))
                                   .narrow(kRight, start, std::min(sides.in, width - start));
      at::Tensor tile = run(piece);
      if (top > 0) tile = faded_in(above[below.size()], tile, kDown);
      if (start > 0) tile = faded_in(left, tile, kRight);
      if (!result.defined()) {
        std::vector<int64_t> shape = tile.sizes().vec();
        shape[shape.size() - 2] = height * sides.out / sides.in;
        shape.back() = width * sides.out / sides.in;
        result = at::empty(shape, tile.options());
      }
      const int64_t rows = std::min(limit, tile.size(kDown)), columns = std::min(limit, tile.size(kRight));
      result.narrow(kDown, y, rows)
          .narrow(kRight, x, columns)
          .copy_(tile.narrow(kDown, 0, rows).narrow(kRight, 0, columns));
      // Copy: a view would keep the whole tile alive.
      below.push_back(ending(tile, kDown, margin).clone());
      left = ending(tile, kRight, margin).clone();
    }
    above = std::move(below);
  }
  return result;
}

}  // namespace glint::detail
