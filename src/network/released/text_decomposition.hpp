// A cache of prompt decompositions, since a run needs the same one at every step.
#pragma once

#include "network/released/canonical_svd.hpp"

#include <ATen/ops/equal.h>

#include <deque>
#include <mutex>

namespace glint::released {

/// Caches the last few results of canonical_svd.
/// Thread:  safe to share.
class TextDecomposition {
 public:
  /// Returns canonical_svd(matrix).
  Svd operator()(const at::Tensor& matrix) {
    const std::lock_guard lock(mutex_);  // runs with the same prompt wait for one decomposition
    for (const Entry& entry : entries_)
      if (entry.matrix.sizes() == matrix.sizes() && at::equal(entry.matrix, matrix)) return entry.svd;
    if (entries_.size() == kRemembered) entries_.pop_front();
    return entries_.emplace_back(Entry{matrix, canonical_svd(matrix)}).svd;
  }

 private:
  static constexpr size_t kRemembered = 4;  // 30 MB each for prompts of 2 x 333 tokens of width 4096
  struct Entry {
    at::Tensor matrix;
    Svd svd;
  };
  std::mutex mutex_;
  std::deque<Entry> entries_;
};

}  // namespace glint::released
