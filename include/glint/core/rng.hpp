// Seeded Gaussian noise, one independent stream per sample, so that an image never depends on its batch.
#pragma once

#include <glint/core/tensor.hpp>
#include <glint/export.hpp>

#include <cstdint>
#include <string_view>
#include <vector>

namespace glint {

/// Draws standard normals for a batch; sample b has its own generator, seeded `seed + b`. A batch of one
/// matches repeated `torch.randn(shape, generator=g)` calls, g a CPU `torch.Generator` seeded `seed`; sample
/// b of any batch matches a batch of one seeded `seed + b`.
/// Thread:  not thread-safe; each run owns its stream.
class GLINT_API NoiseStream {
 public:
  /// Errors: InvalidArgument if batch < 1.
  NoiseStream(uint64_t seed, int64_t batch);

  /// Takes one seed per sample.   Errors: InvalidArgument if `seeds` is empty.
  explicit NoiseStream(std::vector<uint64_t> seeds);

  int64_t batch() const { return static_cast<int64_t>(seeds_.size()); }

  /// Returns the next draw, one slice from each sample's generator.
  /// Shapes:  sample_shape [C,...]; returns [B,C,...].   Dtype: float32 or float64.
  at::Tensor normal(at::IntArrayRef sample_shape, at::ScalarType dtype = at::kFloat);

  /// Returns the next draw with the shape, dtype and device of x [B,...]. Drawn on the CPU, so the values do
  /// not depend on the device.
  at::Tensor normal_like(const at::Tensor& x);

  /// Returns a stream for the same batch, independent of this one and determined by the seeds and `name`.
  /// Strategies draw from forks, so enabling one leaves all other noise unchanged. Samples stay independent:
  /// sample b of a fork matches the fork of a batch of one seeded `seed + b`.
  NoiseStream fork(std::string_view name) const;

 private:
  std::vector<uint64_t> seeds_;
  std::vector<at::Generator> generators_;
};

}  // namespace glint
