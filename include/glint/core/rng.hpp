// Seeded Gaussian noise, one independent stream per sample, so that a picture does not depend on its batch.
#pragma once

#include <glint/core/tensor.hpp>
#include <glint/export.hpp>

#include <cstdint>
#include <string_view>
#include <vector>

namespace glint {

/// Standard normal draws for a batch in which sample b has its own generator, seeded `seed + b`. A batch of
/// one draws exactly what `torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))` draws,
/// call after call; sample b of any batch draws what a batch of one with seed + b draws.
/// Thread:  not shared; each run owns its stream.
class GLINT_API NoiseStream {
 public:
  /// Errors: InvalidArgument if batch < 1.
  NoiseStream(uint64_t seed, int64_t batch);

  /// One seed per sample.   Errors: InvalidArgument if there is none.
  explicit NoiseStream(std::vector<uint64_t> seeds);

  int64_t batch() const { return static_cast<int64_t>(seeds_.size()); }

  /// Returns the next draw, one slice from each sample's generator.
  /// Shapes:  sample_shape [C,...]; returns [B,C,...].   Dtype: float32 unless float64 is asked for.
  at::Tensor normal(at::IntArrayRef sample_shape, at::ScalarType dtype = at::kFloat);

  /// Returns the next draw in the shape, dtype and device of x [B,...]; drawn on the CPU, so no device
  /// changes it.
  at::Tensor normal_like(const at::Tensor& x);

  /// Returns a stream of the same batch whose draws are independent of this one's, the same for the same
  /// name. Forking keeps samples apart: sample b of a fork draws what the fork of a batch of one with seed +
  /// b draws. A strategy draws from a fork, so that switching it on does not change the noise of anything
  /// else.
  NoiseStream fork(std::string_view name) const;

 private:
  std::vector<uint64_t> seeds_;
  std::vector<at::Generator> generators_;
};

}  // namespace glint
