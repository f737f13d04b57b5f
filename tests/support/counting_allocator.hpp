// Counts what libtorch allocates on the CPU, for tests and benchmarks of what a step costs in memory.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace glint::test {

/// libtorch's own CPU allocator, with a count of the allocations from a size up.
class CountingAllocator final : public c10::Allocator {
 public:
  /// The one instance: tensors keep a pointer to their allocator, so it must outlive them all.
  static CountingAllocator& instance() {
    static CountingAllocator allocator;
    return allocator;
  }

  /// While it lives, allocations of at least `bytes` are counted, on every thread.
  class Scope {
   public:
    explicit Scope(size_t bytes) {
      CountingAllocator& counting = instance();
      counting.threshold_ = bytes;
      counting.count_ = 0;
      c10::SetCPUAllocator(&counting);
    }
    ~Scope() { c10::SetCPUAllocator(instance().inner_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    int64_t count() const { return instance().count_; }
  };

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes >= threshold_) ++count_;
    return inner_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return inner_->raw_deleter(); }
  void copy_data(void* destination, const void* source, size_t bytes) const override {
    default_copy_data(destination, source, bytes);
  }

 private:
  CountingAllocator() : inner_(c10::GetCPUAllocator()) {}

  c10::Allocator* inner_;
  size_t threshold_ = 0;
  std::atomic<int64_t> count_ = 0;
};

}  // namespace glint::test
