// The emulated device's global memory: allocations whose bounds and initialization are checked.
#pragma once

#include "tests/support/simt/fault.hpp"

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace glint::simt {

class GlobalMemory {
 public:
  static constexpr std::int32_t kNever = -1, kHost = -2;

  /// Returns memory that must be written before it is read.
  void* allocate(std::size_t bytes) {
    auto a = std::make_unique<Allocation>();
    a->bytes = std::make_unique<unsigned char[]>(bytes + kGuard);
    a->begin = align(a->bytes.get());
    a->size = bytes;
    a->writer.assign((bytes + 1) / 2, kNever);
    allocations_.push_back(std::move(a));
    return allocations_.back()->begin;
  }
  template <typename T>
  T* upload(const T* data, std::size_t count) {
    void* to = allocate(count * sizeof(T));
    std::memcpy(to, data, count * sizeof(T));
    auto& writer = allocations_.back()->writer;
    std::fill(writer.begin(), writer.end(), kHost);
    return static_cast<T*>(to);
  }

  /// Ends a launch: what it wrote counts as ordered before later launches.
  void settle() {
    for (auto& a : allocations_)
      for (std::int32_t& w : a->writer)
        if (w != kNever) w = kHost;
  }

  void check_read(const void* p, std::size_t bytes, std::int32_t block, const std::source_location& where) {
    Allocation& a = find(p, bytes, where);
    const std::size_t first = offset(a, p) / 2;
    for (std::size_t i = first; i < first + (bytes + 1) / 2; ++i) {
      if (a.writer[i] == kNever) throw Fault(FaultKind::Uninitialized, "global read at " + text(where));
      if (a.writer[i] != kHost && a.writer[i] != block)
        throw Fault(FaultKind::Race, "global memory written by another block read at " + text(where));
    }
  }
  void check_write(const void* p, std::size_t bytes, std::int32_t block, const std::source_location& where) {
    Allocation& a = find(p, bytes, where);
    const std::size_t first = offset(a, p) / 2;
    for (std::size_t i = first; i < first + (bytes + 1) / 2; ++i) {
      if (a.writer[i] >= 0 && a.writer[i] != block)
        throw Fault(FaultKind::Race, "global memory written by two blocks at " + text(where));
      a.writer[i] = block;
    }
  }

 private:
  static constexpr std::size_t kGuard = 512;
  struct Allocation {
    std::unique_ptr<unsigned char[]> bytes;
    unsigned char* begin = nullptr;
    std::size_t size = 0;
    std::vector<std::int32_t> writer;  ///< per two bytes: the block that wrote them in this launch
  };

  static unsigned char* align(unsigned char* p) {
    return reinterpret_cast<unsigned char*>((reinterpret_cast<std::uintptr_t>(p) + 255) &
                                            ~std::uintptr_t{255});
  }
  static std::size_t offset(const Allocation& a, const void* p) {
    return static_cast<std::size_t>(static_cast<const unsigned char*>(p) - a.begin);
  }
  static bool holds(const Allocation& a, const void* p, std::size_t bytes) {
    const auto begin = reinterpret_cast<std::uintptr_t>(a.begin), at = reinterpret_cast<std::uintptr_t>(p);
    return at >= begin && at + bytes <= begin + a.size;
  }
  Allocation& find(const void* p, std::size_t bytes, const std::source_location& where) {
    if (reinterpret_cast<std::uintptr_t>(p) % bytes != 0 && (bytes & (bytes - 1)) == 0)
      throw Fault(FaultKind::Misaligned,
                  "global access of " + std::to_string(bytes) + " bytes at " + text(where));
    if (last_ && holds(*last_, p, bytes)) return *last_;
    for (auto& a : allocations_)
      if (holds(*a, p, bytes)) return *(last_ = a.get());
    throw Fault(FaultKind::GlobalBounds,
                "global access of " + std::to_string(bytes) + " bytes at " + text(where));
  }

  std::vector<std::unique_ptr<Allocation>> allocations_;
  Allocation* last_ = nullptr;
};

}  // namespace glint::simt
