// "Did you mean" suggestions: the known name closest to a misspelt one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// Returns the smallest number of insertions, deletions, substitutions and adjacent swaps that turn a into b.
/// Source:  Damerau, "A technique for computer detection and correction of spelling errors", 1964,
///          restricted to edit no substring twice.   Cost: a.size() * b.size().
inline size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  std::iota(above.begin(), above.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = (std::min)({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = (std::min)(row[j], before[j - 2] + 1);
    }
    before.swap(above);
    above.swap(row);
  }
  return above[b.size()];
}

/// Returns the first of the names closest to `name`, if at most a third of its letters differ (one always
/// may). `names` is any range of strings.
template <typename Names>
std::optional<std::string> nearest_name(std::string_view name, const Names& names) {
  constexpr size_t kLongestName = 128;  // longer input is no misspelling, and the distance is quadratic
  if (name.size() > kLongestName) return std::nullopt;
  std::optional<std::string> nearest;
  size_t least = (std::max<size_t>)(1, (name.size() + 2) / 3) + 1;
  for (const auto& candidate : names) {
    const std::string_view known(candidate);
    const size_t distance = edit_distance(name, known);
    if (distance >= least || distance >= (std::max)(name.size(), known.size())) continue;
    least = distance;
    nearest = std::string(known);
  }
  return nearest;
}

/// Returns "; did you mean 'nearest'?" to append to a message, or "" if no name is close.
template <typename Names>
std::string did_you_mean(std::string_view name, const Names& names) {
  const auto nearest = nearest_name(name, names);
  return nearest ? "; did you mean '" + *nearest + "'?" : std::string();
}

}  // namespace glint
