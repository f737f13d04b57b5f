// One head of the operands, as the kernels read it.
#pragma once

#include "ops/kernels.hpp"
#include "ops/workspace.hpp"

namespace glint::ops {

constexpr int64_t bytes(Element element) { return element == Element::Float32 ? 4 : 2; }

inline HeadRows head_rows(const Rows& x, int64_t batch, int64_t head, int64_t token = 0) {
  const int64_t at = batch * x.batch_stride + head * x.head_stride + token * x.token_stride;
  return {static_cast<char*>(x.data) + at * bytes(x.element), x.element, x.token_stride};
}

/// One head's rows in float32, contiguous: in place if they already are, else copied. Most models interleave
/// heads within a token, and widely spaced rows cost more in cache and page misses than the copy.
class FloatRows {
 public:
  /// Allocates memory for copies of `x`'s heads, if needed.
  explicit FloatRows(const Rows& x) : stride_(x.token_stride) {
    if (x.element == Element::Float32 && x.token_stride == x.size) return;
    stride_ = round_up(x.size, kPad);
    converted_ = Buffer<float>(x.tokens * stride_);
  }

  /// Points at a head. Copied rows are valid after convert().
  void bind(const Rows& x, int64_t batch, int64_t head) {
    source_ = head_rows(x, batch, head);
    columns_ = x.size;
    data_ = converted_.data() ? converted_.data() : static_cast<const float*>(source_.data);
  }
  void convert(Range tokens) const {
    if (!converted_.data()) return;
    const HeadRows from{
        static_cast<char*>(source_.data) + tokens.begin * source_.stride * bytes(source_.element),
        source_.element, source_.stride};
    load_rows(from, tokens.count, columns_, converted_.data() + tokens.begin * stride_, stride_);
  }
  const float* row(int64_t token) const { return data_ + token * stride_; }
  int64_t stride() const { return stride_; }

 private:
  int64_t stride_, columns_ = 0;
  HeadRows source_{};
  const float* data_ = nullptr;
  Buffer<float> converted_;
};

/// Calls function(first, count) for groups of at most `threads` heads, which bounds memory.
template <typename Function>
void for_each_group(int64_t heads, int64_t threads, Function&& function) {
  const int64_t size = std::max<int64_t>(1, std::min(heads, threads));
  for (int64_t first = 0; first < heads; first += size) function(first, std::min(size, heads - first));
}

}  // namespace glint::ops
