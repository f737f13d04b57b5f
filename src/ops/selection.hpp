// Selects the largest scores of a row.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace glint::ops {

/// Writes the indices of the `count` largest of `n` scores to `best`: ascending, or best first if `ranked`.
/// Ties go to the lowest index; NaN ranks last.
inline void select_largest(const float* scores, int64_t n, int64_t count, bool ranked, int32_t* best) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const auto value = [scores](int32_t i) {
    return std::isnan(scores[i]) ? -std::numeric_limits<float>::infinity() : scores[i];
  };
  const auto before = [&](int32_t a, int32_t b) {
    return value(a) != value(b) ? value(a) > value(b) : a < b;
  };
  if (count < n) std::nth_element(order.begin(), order.begin() + count, order.end(), before);
  std::copy_n(order.begin(), count, best);
  if (ranked)
    std::sort(best, best + count, before);
  else
    std::sort(best, best + count);
}

}  // namespace glint::ops
