#include <glint/attention/token_order.hpp>
#include <glint/core/error.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <algorithm>
#include <numeric>
#include <set>

using namespace glint;
using test::Contains;

namespace GLINT_TEST_FILE {

struct Grid {
  int64_t frames, height, width;
  int64_t tokens() const { return frames * height * width; }
};

bool is_permutation_of_all(std::vector<int64_t> order) {
  std::sort(order.begin(), order.end());
  std::vector<int64_t> all(order.size());
  std::iota(all.begin(), all.end(), int64_t{0});
  return order == all;
}

/// Mean squared distance of a run of tokens to its own centre: a full 8 x 8 patch has 10.5, a 4 x 4 x 4 one
/// 3.75.
double spread(const std::vector<int64_t>& order, const Grid& grid, int64_t begin, int64_t count) {
  double sum = 0.0;
  for (const int64_t stride : {int64_t{1}, grid.width, grid.width * grid.height}) {
    const int64_t size = stride == 1 ? grid.width : stride == grid.width ? grid.height : grid.frames;
    double first = 0.0, second = 0.0;
    for (int64_t i = begin; i < begin + count; ++i) {
      const auto position = static_cast<double>(order[static_cast<size_t>(i)] / stride % size);
      first += position;
      second += position * position;
    }
    const auto n = static_cast<double>(count);
    sum += second / n - first * first / n / n;
  }
  return sum;
}

double worst_spread(const std::vector<int64_t>& order, const Grid& grid, int64_t offset = 0) {
  double worst = 0.0;
  for (int64_t begin = offset; begin + 64 <= grid.tokens(); begin += 64)
    worst = std::max(worst, spread(order, grid, begin, 64));
  return worst;
}

TEST_CASE("A token order is a permutation of any grid", "[unit]") {
  for (const Grid& grid : {Grid{1, 1, 1}, Grid{1, 64, 64}, Grid{1, 34, 61}, Grid{1, 3, 200}, Grid{21, 30, 52},
                           Grid{2, 5, 7}, Grid{5, 1, 9}})
    for (const int64_t block : {1, 16, 32, 64, 128}) {
      CAPTURE(grid.frames, grid.height, grid.width, block);
      CHECK(is_permutation_of_all(token_order(grid.frames, grid.height, grid.width, block)));
    }
}

TEST_CASE("Blocks are whole patches where the sides are multiples of a patch's", "[unit]") {
  const Grid picture{1, 64, 48};
  const auto order = token_order(1, picture.height, picture.width);
  std::set<int64_t> corners;
  for (int64_t block = 0; block < picture.tokens() / 64; ++block) {
    std::set<int64_t> tokens(order.begin() + block * 64, order.begin() + (block + 1) * 64), patch;
    const int64_t corner = *tokens.begin();
    for (int64_t y = 0; y < 8; ++y)
      for (int64_t x = 0; x < 8; ++x) patch.insert(corner + y * picture.width + x);
    CHECK(tokens == patch);
    CHECK((corner % picture.width % 8 == 0 && corner / picture.width % 8 == 0));
    corners.insert(corner);
  }
  CHECK(corners.size() == 48);

  const Grid video{8, 12, 16};
  CHECK(worst_spread(token_order(video.frames, video.height, video.width), video) == Approx(3.75));
}

TEST_CASE("Blocks are compact at any size and wherever they begin", "[unit]") {
  // FLUX at 1024, 1088 x 832 and 720 x 1280 px; Wan at 480 x 832, 81 frames. An 8 x 8 patch has a spread of
  // 10.5; in raster order the same blocks are lines of 64, whose spread is above 300.
  for (const Grid& grid : {Grid{1, 64, 64}, Grid{1, 68, 52}, Grid{1, 45, 80}, Grid{1, 33, 47}})
    for (const int64_t offset : {0, 13, 51}) {
      CAPTURE(grid.height, grid.width, offset);
      const auto order = token_order(1, grid.height, grid.width);
      CHECK(worst_spread(order, grid, offset) < 30.0);
    }
  const Grid wan{21, 30, 52};
  const auto order = token_order(wan.frames, wan.height, wan.width);
  for (const int64_t offset : {0, 13, 51}) CHECK(worst_spread(order, wan, offset) < 12.0);
}

TEST_CASE("A token order refuses empty grids by name", "[unit]") {
  CHECK_THAT(test::failure([] { token_order(1, 0, 4); }),
             Contains("InvalidArgument: token_order: expected positive sizes, got 1 x 0 x 4"));
  CHECK_THAT(test::failure([] { token_order(1, 4, 4, 0); }), Contains("InvalidArgument: block_size"));
}

}  // namespace GLINT_TEST_FILE
