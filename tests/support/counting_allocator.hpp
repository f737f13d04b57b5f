// Counts what libtorch allocates on the CPU, for tests and benchmarks of what a step costs in memory.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace glint::test {

/// libtorch's own CPU allocator, with a count of the allocations from a size up, and of the bytes in use.
class CountingAllocator final : public c10::Allocator {
 public:
  /// The one instance: tensors keep a pointer to their allocator, so it must outlive them all.
  static CountingAllocator& instance() {
    static CountingAllocator allocator;
    return allocator;
  }

  /// While it lives, allocations of at least `bytes` are counted, on every thread. One at a time.
  class Scope {
   public:
    explicit Scope(size_t bytes) {
      CountingAllocator& counting = instance();
      counting.threshold_ = bytes;
      counting.count_ = 0;
      counting.used_ = counting.most_ = 0;
      c10::SetCPUAllocator(&counting);
    }
    ~Scope() { c10::SetCPUAllocator(instance().inner_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    int64_t count() const { return instance().count_; }

    /// Returns the most bytes in use at one time, of what was allocated in this scope.
    int64_t most() const { return instance().most_; }
  };

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes >= threshold_) ++count_;
    c10::DataPtr block = inner_->allocate(bytes);
    void* data = block.release_context();
    const std::lock_guard lock(mutex_);
    sizes_[data] = bytes;
    used_ += static_cast<int64_t>(bytes);
    most_ = std::max(most_, used_);
    return {data, data, release, at::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return release; }
  void copy_data(void* destination, const void* source, size_t bytes) const override {
    default_copy_data(destination, source, bytes);
  }

 private:
  static void release(void* data) {
    CountingAllocator& counting = instance();
    {
      const std::lock_guard lock(counting.mutex_);
      // oneDNN frees with the allocator of the moment what it got from another one before.
      if (const auto found = counting.sizes_.find(data); found != counting.sizes_.end()) {
        counting.used_ -= static_cast<int64_t>(found->second);
        counting.sizes_.erase(found);
      }
    }
    counting.inner_->raw_deleter()(data);
  }

  CountingAllocator() : inner_(c10::GetCPUAllocator()) {}

  c10::Allocator* inner_;
  size_t threshold_ = 0;
  std::atomic<int64_t> count_ = 0;
  std::mutex mutex_;
  std::unordered_map<void*, size_t> sizes_;
  int64_t used_ = 0, most_ = 0;
};

}  // namespace glint::test
