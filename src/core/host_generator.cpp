// Normals of torch's CPU generator, bit for bit: of its x86 builds with AVX2, from 16 values up.
#include "core/host_loops.hpp"

#include <array>
#include <cmath>
#include <numbers>
#include <optional>
#include <utility>

#define GLINT_ALWAYS_INLINE __attribute__((always_inline))
#define GLINT_INLINE inline GLINT_ALWAYS_INLINE

namespace glint::host {
namespace {

#ifdef __x86_64__
#ifdef _WIN32  // where GCC does not align the stack as wider vectors need it (its bug 54412)
#define GLINT_WIDEST "avx2,fma,prefer-vector-width=128"
#else
#define GLINT_WIDEST "avx2,fma"
#endif

template <typename Function>
__attribute__((target(GLINT_WIDEST))) void with_fma(const Function& function) {
  function();
}
#endif

/// Runs a function that is always inlined, compiled for AVX2 and FMA where the processor has them. The bits
/// are the same without, where fmaf is the C library's.
template <typename Function>
void in_widest(const Function& function) {
#ifdef __x86_64__
  static const bool wide = __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2");
  if (wide) return with_fma(function);
#endif
  function();
}

/// The Mersenne Twister MT19937, many words at a time, which std::mt19937 has not.
/// Source:  Matsumoto and Nishimura, ACM TOMACS 8(1), 1998.
class Twister {
 public:
  explicit Twister(uint32_t seed) {
    words_[0] = seed;
    for (uint32_t i = 1; i < kWords; ++i)
      words_[i] = 1812433253U * (words_[i - 1] ^ (words_[i - 1] >> 30)) + i;
  }

  uint32_t operator()() {
    if (used_ == kWords) twist();
    return tempered(words_[used_++]);
  }

  /// Fills with uniforms in [0, 1).
  GLINT_INLINE void fill(float* values, int64_t count) {
    while (count > 0) {
      if (used_ == kWords) twist();
      const int64_t some = (std::min)(count, static_cast<int64_t>(kWords - used_));
      const uint32_t* const words = words_.data() + used_;
      for (int64_t i = 0; i < some; ++i)
        values[i] = static_cast<float>(static_cast<int32_t>(tempered(words[i]) & 0xffffffU)) * 0x1p-24f;
      used_ += static_cast<size_t>(some);
      values += some;
      count -= some;
    }
  }

 private:
  static constexpr size_t kWords = 624, kMiddle = 397;

  static GLINT_INLINE uint32_t tempered(uint32_t word) {
    word ^= word >> 11;
    word ^= (word << 7) & 0x9d2c5680U;
    word ^= (word << 15) & 0xefc60000U;
    return word ^ (word >> 18);
  }

  static GLINT_INLINE uint32_t twisted(uint32_t word, uint32_t next, uint32_t other) {
    const uint32_t joined = (word & 0x80000000U) | (next & 0x7fffffffU);
    return other ^ (joined >> 1) ^ ((0U - (joined & 1U)) & 0x9908b0dfU);
  }

  GLINT_INLINE void twist() {
    size_t i = 0;
    for (; i < kWords - kMiddle; ++i) words_[i] = twisted(words_[i], words_[i + 1], words_[i + kMiddle]);
    for (; i < kWords - 1; ++i) words_[i] = twisted(words_[i], words_[i + 1], words_[i - (kWords - kMiddle)]);
    words_[i] = twisted(words_[i], words_[0], words_[kMiddle - 1]);
    used_ = 0;
  }

  std::array<uint32_t, kWords> words_;
  size_t used_ = kWords;
};

constexpr int kHalf = 8;  // half a block of Box and Muller's transform: radii, then angles

/// std::bit_cast, which not every standard library of C++20 has.
template <typename To, typename From>
GLINT_INLINE To bits_as(From from) {
  return __builtin_bit_cast(To, from);
}

/// a b + c rounded once, as torch's compiler joined the two operations.
GLINT_INLINE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

/// log(x) of a normal x > 0.   Source: Cephes logf, as in torch's avx_mathfun.h.
GLINT_INLINE float log_of(float x) {
  const auto bits = bits_as<uint32_t>(x);
  const float fraction = bits_as<float>((bits & 0x807fffffU) | 0x3f000000U);  // in [0.5, 1)
  const bool low = fraction < 0.707106781186547524f;
  const float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 127) + 1.0f - (low ? 1.0f : 0.0f);
  const float m = (fraction - 1.0f) + (low ? fraction : 0.0f);
  const float z = m * m;
  float y = fused(7.0376836292E-2f, m, -1.1514610310E-1f);  // written out: a loop in it is not vectorized
  y = fused(y, m, 1.1676998740E-1f);
  y = fused(y, m, -1.2420140846E-1f);
  y = fused(y, m, 1.4249322787E-1f);
  y = fused(y, m, -1.6668057665E-1f);
  y = fused(y, m, 2.0000714765E-1f);
  y = fused(y, m, -2.4999993993E-1f);
  y = fused(y, m, 3.3333331174E-1f);
  y *= m;
  y = fused(y, z, e * -2.12194440e-4f);
  y = fused(-z, 0.5f, y);
  return fused(e, 0.693359375f, m + y);
}

struct SineCosine {
  float sine, cosine;
};

/// Both of an angle in [0, 2 pi].   Source: Cephes sinf and cosf, as in torch's avx_mathfun.h.
GLINT_INLINE SineCosine sine_cosine(float angle) {
  const int32_t octant = (static_cast<int32_t>(angle * 1.27323954473516f) + 1) & ~1;
  const auto of = static_cast<float>(octant);
  float x = fused(of, -0.78515625f, angle);
  x = fused(of, -2.4187564849853515625e-4f, x);
  x = fused(of, -3.77489497744594108e-8f, x);
  const float z = x * x;
  float c = fused(2.443315711809948E-5f, z, -1.388731625493765E-3f);
  c = fused(c, z, 4.166664568298827E-2f) * z;
  c = fused(c, z, -(z * 0.5f)) + 1.0f;
  float s = fused(-1.9515295891E-4f, z, 8.3321608736E-3f);
  s = fused(s, z, -1.6666654611E-1f) * z;
  s = fused(s, x, x);
  const bool direct = (octant & 2) == 0;
  const uint32_t flip_sine = static_cast<uint32_t>(octant & 4) << 29;
  const uint32_t flip_cosine = (~static_cast<uint32_t>(octant - 2) & 4U) << 29;
  return {bits_as<float>(bits_as<uint32_t>(direct ? s : c) ^ flip_sine),
          bits_as<float>(bits_as<uint32_t>(direct ? c : s) ^ flip_cosine)};
}

/// Turns blocks of 16 uniforms in [0, 1) into normals.
GLINT_INLINE void transform(float* data, int64_t blocks, double given_mean, double given_deviation) {
  const auto mean = static_cast<float>(given_mean), deviation = static_cast<float>(given_deviation);
  for (int64_t b = 0; b < blocks; ++b, data += 2 * kHalf)
    for (int j = 0; j < kHalf; ++j) {
      const float radius = __builtin_sqrtf(-2.0f * log_of(1.0f - data[j]));
      const SineCosine at = sine_cosine(static_cast<float>(2.0 * std::numbers::pi) * data[j + kHalf]);
      data[j] = fused(radius * at.cosine, deviation, mean);
      data[j + kHalf] = fused(radius * at.sine, deviation, mean);
    }
}

void transform(double* data, int64_t blocks, double mean, double deviation) {
  for (int64_t b = 0; b < blocks; ++b, data += 2 * kHalf)
    for (int j = 0; j < kHalf; ++j) {
      const double radius = std::sqrt(-2.0 * std::log(1.0 - data[j]));
      const double angle = 2.0 * std::numbers::pi * data[j + kHalf];
      data[j] = radius * std::cos(angle) * deviation + mean;
      data[j + kHalf] = radius * std::sin(angle) * deviation + mean;
    }
}

}  // namespace

struct Generator::State {
  Twister engine;
  std::optional<double> next;  // Box and Muller make two values; this one waits

  explicit State(uint64_t seed) : engine(static_cast<uint32_t>(seed)) {}

  double uniform() {
    const uint64_t high = engine(), low = engine();
    return static_cast<double>(((high << 32) | low) & ((uint64_t{1} << 53) - 1)) * 0x1p-53;
  }
  GLINT_INLINE void uniform(float* values, int64_t count) { engine.fill(values, count); }
  void uniform(double* values, int64_t count) {
    for (int64_t i = 0; i < count; ++i) values[i] = uniform();
  }

  double normal() {
    if (next) return *std::exchange(next, std::nullopt);
    const double turn = uniform(), u = uniform();
    const double radius = std::sqrt(-2.0 * std::log1p(-u)), angle = 2.0 * std::numbers::pi * turn;
    next = radius * std::sin(angle);
    return radius * std::cos(angle);
  }

  template <typename T>
  void fill(T* values, int64_t count, double mean, double deviation) {
    constexpr int64_t kBlock = 2 * kHalf;
    if (count < kBlock) {
      for (int64_t i = 0; i < count; ++i) values[i] = static_cast<T>(normal() * deviation + mean);
      return;
    }
    in_widest([&]() GLINT_ALWAYS_INLINE {
      uniform(values, count);
      transform(values, count / kBlock, mean, deviation);
      if (count % kBlock == 0) return;
      // The last block overlaps the one before it and is drawn anew.
      T* const last = values + count - kBlock;
      uniform(last, kBlock);
      transform(last, 1, mean, deviation);
    });
  }
};

Generator::Generator(uint64_t seed) : state_(std::make_shared<State>(seed)) {}

void Generator::fill(float* values, int64_t count, double mean, double deviation) const {
  state_->fill(values, count, mean, deviation);
}
void Generator::fill(double* values, int64_t count, double mean, double deviation) const {
  state_->fill(values, count, mean, deviation);
}

const Tensor& Tensor::normal_(double mean, double deviation, const Generator& generator) const {
  visit(scalar_type(),
        [&](auto zero) { generator.fill(data_ptr<decltype(zero)>(), numel(), mean, deviation); });
  return *this;
}

}  // namespace glint::host
