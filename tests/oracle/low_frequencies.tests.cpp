// The frequencies that CFG-cache amplifies apart: waves are kept whole or not at all.
#include <glint/cache/cfg_cache.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/tensors.hpp"

#include <cmath>
#include <numbers>
#include <utility>

namespace glint {
namespace GLINT_TEST_FILE {

constexpr int64_t kHeight = 15, kWidth = 20, kPlanes = 2;  // a fifth of 15 is 3

/// Waves of so many periods [1,2,15,20], the second plane minus the first.
at::Tensor wave(int64_t rows, int64_t columns) {
  at::Tensor t = at::zeros({1, kPlanes, kHeight, kWidth}, at::kDouble);
  auto* value = t.data_ptr<double>();
  for (int64_t plane = 0; plane < kPlanes; ++plane)
    for (int64_t i = 0; i < kHeight; ++i)
      for (int64_t j = 0; j < kWidth; ++j) {
        const double turns = static_cast<double>(rows * i) / static_cast<double>(kHeight) +
                             static_cast<double>(columns * j) / static_cast<double>(kWidth);
        *value++ = (plane == 0 ? 1.0 : -1.0) * std::cos(2.0 * std::numbers::pi * turns);
      }
  return t;
}

double largest(const at::Tensor& t) { return t.abs().max().item<double>(); }

TEST_CASE("Low frequencies are those within a fifth of the smaller side", "[oracle]") {
  const std::pair<int64_t, int64_t> low[] = {{0, 0}, {3, 0}, {0, 3}, {2, 2}, {-2, 2}, {-3, 0}},
                                    high[] = {{4, 0}, {0, 4}, {3, 1}, {2, 3}, {0, 10}, {-2, 3}};
  // 1e-12: double's rounding, summed over a plane.
  for (const auto& [rows, columns] : low) {
    CAPTURE(rows, columns);
    const at::Tensor x = wave(rows, columns);
    CHECK(largest(detail::low_frequencies(x).sub(x)) < 1e-12);
  }
  for (const auto& [rows, columns] : high) {
    CAPTURE(rows, columns);
    CHECK(largest(detail::low_frequencies(wave(rows, columns))) < 1e-12);
  }
  const at::Tensor sum = wave(2, 2).add(wave(4, 0)).to(at::kFloat);
  CHECK(detail::low_frequencies(sum).scalar_type() == at::kFloat);
  CHECK(largest(detail::low_frequencies(sum).to(at::kDouble).sub(wave(2, 2))) < 1e-6);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
