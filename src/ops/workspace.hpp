// Sizes shared by kernels and callers, and aligned memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

namespace glint::ops {

constexpr int64_t kChunk = 128;     ///< keys processed at a time
constexpr int64_t kPad = 16;        ///< floats in the widest vector
constexpr int64_t kScoreTile = 64;  ///< queries scored at a time for the selection
constexpr int64_t kRunBlocks = 16;  ///< key blocks per moment-summing task; fixes the order of summation

constexpr int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// Uninitialized memory, aligned to a cache line.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t count)
      : data_(
            static_cast<T*>(::operator new (static_cast<size_t>(count) * sizeof(T), std::align_val_t{64}))) {}
  T* data() const { return data_.get(); }
  T& operator[](int64_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Free> data_;
};

}  // namespace glint::ops
