// Row conversion and transposition, and the exponential. Included once per instruction set.
#if defined(GLINT_OPS_ROWS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef GLINT_OPS_ROWS_INL
#undef GLINT_OPS_ROWS_INL
#else
#define GLINT_OPS_ROWS_INL
#endif

#include "ops/kernels.hpp"
#include "ops/product-inl.hpp"

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace glint::ops::HWY_NAMESPACE {

/// Returns 2^x to 2e-7 relative for x in [-126, 126]; 2^-126 below. NaN stays NaN.
HWY_INLINE Vec exp2(Vec x) {
  const FloatTag tag;
  const hn::RebindToSigned<FloatTag> integers;
  x = hn::Max(hn::Set(tag, -126.0f), x);
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  const Vec magic = hn::Set(tag, 12582912.0f);
  const Vec shifted = hn::Add(x, magic);
  const Vec f = hn::Sub(x, hn::Sub(shifted, magic));  // in [-1/2, 1/2]
  Vec p = hn::Set(tag, 1.5403530393381608e-4f);       // Taylor: ln(2)^n / n!
  p = hn::MulAdd(p, f, hn::Set(tag, 1.3333558146428443e-3f));
  p = hn::MulAdd(p, f, hn::Set(tag, 9.618129107628477e-3f));
  p = hn::MulAdd(p, f, hn::Set(tag, 5.5504108664821576e-2f));
  p = hn::MulAdd(p, f, hn::Set(tag, 2.402265069591007e-1f));
  p = hn::MulAdd(p, f, hn::Set(tag, 6.931471805599453e-1f));
  p = hn::MulAdd(p, f, hn::Set(tag, 1.0f));
  return hn::BitCast(tag,
                     hn::Add(hn::BitCast(integers, p), hn::ShiftLeft<23>(hn::BitCast(integers, shifted))));
}

/// to[c][r] = factor * from[r][c], in 4 x 4 tiles.
HWY_INLINE void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float factor,
                          float* to, int64_t to_stride) {
  int64_t whole_rows = 0, whole_columns = 0;
#if HWY_TARGET != HWY_SCALAR
  whole_rows = rows & ~int64_t{3}, whole_columns = columns & ~int64_t{3};
  const hn::FixedTag<float, 4> tag;
  const auto scale = hn::Set(tag, factor);
  for (int64_t c = 0; c < whole_columns; c += 4)
    for (int64_t r = 0; r < whole_rows; r += 4) {
      const float* in = from + r * from_stride + c;
      const auto x0 = hn::Mul(scale, hn::LoadU(tag, in)),
                 x1 = hn::Mul(scale, hn::LoadU(tag, in + from_stride)),
                 x2 = hn::Mul(scale, hn::LoadU(tag, in + 2 * from_stride)),
                 x3 = hn::Mul(scale, hn::LoadU(tag, in + 3 * from_stride));
      const auto low01 = hn::InterleaveLower(tag, x0, x1), high01 = hn::InterleaveUpper(tag, x0, x1),
                 low23 = hn::InterleaveLower(tag, x2, x3), high23 = hn::InterleaveUpper(tag, x2, x3);
      float* out = to + c * to_stride + r;
      hn::StoreU(hn::ConcatLowerLower(tag, low23, low01), tag, out);
      hn::StoreU(hn::ConcatUpperUpper(tag, low23, low01), tag, out + to_stride);
      hn::StoreU(hn::ConcatLowerLower(tag, high23, high01), tag, out + 2 * to_stride);
      hn::StoreU(hn::ConcatUpperUpper(tag, high23, high01), tag, out + 3 * to_stride);
    }
#endif
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      to[c * to_stride + r] = factor * from[r * from_stride + c];
}

HWY_INLINE void load_half(const hwy::float16_t* from, int64_t n, float* to) {
  const FloatTag tag;
  const hn::Rebind<hwy::float16_t, FloatTag> half;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(hn::PromoteTo(tag, hn::LoadU(half, from + i)), tag, to + i);
  if (i == n) return;
  hwy::float16_t rest[kLanes] = {};
  float wide[kLanes];
  std::memcpy(rest, from + i, static_cast<size_t>(n - i) * sizeof(hwy::float16_t));
  hn::StoreU(hn::PromoteTo(tag, hn::LoadU(half, rest)), tag, wide);
  std::memcpy(to + i, wide, static_cast<size_t>(n - i) * sizeof(float));
}

/// Rounds to nearest, ties to even, on every instruction set: Highway truncates where the hardware has no
/// instruction.
HWY_INLINE uint16_t half_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
  const uint32_t normal = (size + 0xc8000fffu + ((size >> 13) & 1u)) >> 13;  // rebias the exponent by -112
  float shifted;
  std::memcpy(&shifted, &size, sizeof shifted);
  shifted += 0.5f;  // aligns a subnormal's fraction with the last bits
  uint32_t subnormal;
  std::memcpy(&subnormal, &shifted, sizeof subnormal);
  const uint32_t large = size > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t finite = size < 0x38800000u ? subnormal - 0x3f000000u : normal;
  return static_cast<uint16_t>(sign | (size >= 0x477ff000u ? large : finite));
}

HWY_INLINE void store_half(const float* from, int64_t n, uint16_t* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = half_of(from[i]);
}

HWY_INLINE void load_bfloat(const uint16_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
    std::memcpy(to + i, &bits, sizeof bits);
  }
}

HWY_INLINE void store_bfloat(const float* from, int64_t n, uint16_t* to) {
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, from + i, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to nearest, ties to even
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    to[i] = static_cast<uint16_t>(nan ? (bits >> 16) | 0x40u : rounded);
  }
}

HWY_INLINE void load_row(const HeadRows& from, int64_t row, int64_t n, float* to) {
  const int64_t at = row * from.stride;
  switch (from.element) {
    case Element::Float32:
      std::memcpy(to, static_cast<const float*>(from.data) + at, static_cast<size_t>(n) * sizeof(float));
      break;
    case Element::Float16: load_half(static_cast<const hwy::float16_t*>(from.data) + at, n, to); break;
    case Element::BFloat16: load_bfloat(static_cast<const uint16_t*>(from.data) + at, n, to); break;
  }
}

HWY_INLINE void store_row(const float* from, int64_t n, const HeadRows& to, int64_t row) {
  const int64_t at = row * to.stride;
  switch (to.element) {
    case Element::Float32:
      std::memcpy(static_cast<float*>(to.data) + at, from, static_cast<size_t>(n) * sizeof(float));
      break;
    case Element::Float16: store_half(from, n, static_cast<uint16_t*>(to.data) + at); break;
    case Element::BFloat16: store_bfloat(from, n, static_cast<uint16_t*>(to.data) + at); break;
  }
}

void load_rows(const HeadRows& from, int64_t rows, int64_t columns, float* to, int64_t to_stride) {
  for (int64_t r = 0; r < rows; ++r) load_row(from, r, columns, to + r * to_stride);
}

void mean_of_rows(const HeadRows& from, int64_t rows, int64_t columns, float* to, float* workspace) {
  std::memset(to, 0, static_cast<size_t>(columns) * sizeof(float));
  for (int64_t r = 0; r < rows; ++r) {
    load_row(from, r, columns, workspace);
    for (int64_t c = 0; c < columns; ++c) to[c] += workspace[c];
  }
  const float share = 1.0f / static_cast<float>(rows);
  for (int64_t c = 0; c < columns; ++c) to[c] *= share;
}

}  // namespace glint::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
