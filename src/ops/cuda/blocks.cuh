// Which tokens a block holds, on the device. See Blocks in params.hpp.
#pragma once

#include "ops/cuda/params.hpp"
#include "ops/cuda/primitives.cuh"

namespace glint::ops::cuda {

GLINT_DEVICE int clamped(int x, int n) { return x < 0 ? 0 : x < n ? x : n - 1; }

/// Number i of the context blocks that head h keeps. Lists may come from the caller: numbers stay in range.
GLINT_DEVICE int context_of(const Blocks& b, int h, int i) {
  const int c = load(b.context + static_cast<std::int64_t>(h) * b.kept + i);
  return clamped(c, ceil_div(b.tokens - (b.padded ? b.split / b.size * b.size : b.split), b.size));
}

/// Tokens of block j of head h. In padded cuts `begin` counts positions among the keys in use.
GLINT_DEVICE Span span_of(const Blocks& b, int h, int j) {
  if (b.padded) return {j * b.size, smaller(b.size, b.split + b.size * b.kept - j * b.size)};
  const int first = b.first_part();
  if (j < first) return {j * b.size, smaller(b.size, b.split - j * b.size)};
  const int c = b.kept < 0 ? j - first : context_of(b, h, j - first);
  const int begin = b.split + c * b.size;
  return {begin, smaller(b.size, b.tokens - begin)};
}

/// The token at place r of a span, -1 for a zero key.
GLINT_DEVICE int token_of(const Blocks& b, int h, Span span, int r) {
  const int position = span.begin + r;
  if (!b.padded || position < b.split) return position;
  const int after = position - b.split;
  const int c = context_of(b, h, after / b.size);
  const int token = (b.split / b.size + c) * b.size + after % b.size;
  return token < b.tokens ? token : -1;
}

/// What a block's mean is divided by and counts for.
GLINT_DEVICE float weight_of(const Blocks& b, Span span) {
  return static_cast<float>(b.padded ? b.size : span.count);
}

template <typename T>
GLINT_DEVICE T* head_of(const Strided& x, int heads, int h) {
  return static_cast<T*>(x.data) + (h / heads) * x.batch_stride + (h % heads) * x.head_stride;
}

}  // namespace glint::ops::cuda
