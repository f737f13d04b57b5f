#include <glint/core/error.hpp>
#include <glint/core/rng.hpp>

#ifndef GLINT_CORE_ONLY
#include <ATen/CPUGeneratorImpl.h>
#endif

#include <numeric>
#include <utility>

namespace glint {
namespace {

// FNV-1a over the name, finalised by SplitMix64: any change of seed or name yields an unrelated seed, the
// same on every platform.
uint64_t mix(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ULL ^ seed;
  for (unsigned char c : name) hash = (hash ^ c) * 0x100000001b3ULL;
  hash += 0x9e3779b97f4a7c15ULL;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ULL;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebULL;
  return hash ^ (hash >> 31);
}

std::vector<uint64_t> consecutive(uint64_t seed, int64_t batch) {
  GLINT_CHECK(batch >= 1, InvalidArgument, "batch: expected at least 1, got {}", batch);
  constexpr int64_t kMost = int64_t{1} << 31;
  GLINT_CHECK(batch <= kMost, InvalidArgument, "batch: expected at most {}, got {}", kMost, batch);
  std::vector<uint64_t> seeds(static_cast<size_t>(batch));
  std::iota(seeds.begin(), seeds.end(), seed);
  return seeds;
}

}  // namespace

NoiseStream::NoiseStream(std::vector<uint64_t> seeds) : seeds_(std::move(seeds)) {
  GLINT_CHECK(!seeds_.empty(), InvalidArgument, "seeds: expected one per sample, got none");
  generators_.reserve(seeds_.size());
  for (uint64_t seed : seeds_) generators_.push_back(at::detail::createCPUGenerator(seed));
}

NoiseStream::NoiseStream(uint64_t seed, int64_t batch) : NoiseStream(consecutive(seed, batch)) {}

at::Tensor NoiseStream::normal(at::IntArrayRef sample_shape, at::ScalarType dtype) {
  std::vector<int64_t> shape{batch()};
  shape.insert(shape.end(), sample_shape.begin(), sample_shape.end());
  at::Tensor noise = at::empty(shape, at::TensorOptions().dtype(dtype));
  for (int64_t b = 0; b < batch(); ++b)
    noise.select(0, b).normal_(0.0, 1.0, generators_[static_cast<size_t>(b)]);
  return noise;
}

at::Tensor NoiseStream::normal_like(const at::Tensor& x) {
  return normal(x.sizes().slice(1), x.scalar_type()).to(x.device());
}

NoiseStream NoiseStream::fork(std::string_view name) const {
  std::vector<uint64_t> seeds = seeds_;
  for (uint64_t& seed : seeds) seed = mix(seed, name);
  return NoiseStream(std::move(seeds));
}

}  // namespace glint
