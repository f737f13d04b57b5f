// A device for the engine of src/ops/cuda that runs its kernels in the emulator.
#pragma once

#include "tests/support/simt/primitives.hpp"
// After the primitives:
#include "ops/cuda/attend_mma.cuh"
#include "ops/cuda/engine.hpp"
#include "ops/cuda/isa.cuh"
#include "ops/cuda/statistics_mma.cuh"

#include <typeinfo>

namespace glint::simt {

class EmulatedDevice {
 public:
  Options options;
  GlobalMemory memory;

  template <typename T>
  T* allocate(std::int64_t count) {
    return static_cast<T*>(memory.allocate(static_cast<std::size_t>(count) * sizeof(T)));
  }
  template <typename Kernel, typename Params>
  void run(const Params& params, std::int64_t x, std::int64_t y) {
    const auto bytes = static_cast<std::size_t>(Kernel::shared_bytes(params));
    if (bytes > kMostShared)
      throw Fault(FaultKind::SharedBounds, "a kernel asks for more than every GPU has");
    Machine machine(memory, bytes, Kernel::kThreads, options);
    reports_[typeid(Kernel).hash_code()].add(
        machine.launch({static_cast<int>(x), static_cast<int>(y)}, [&] { Kernel{}(params); }));
  }
  /// What the launches of a kernel counted; zeros if it did not run.
  template <typename Kernel>
  const Report& report() {
    return reports_[typeid(Kernel).hash_code()];
  }

 private:
  static constexpr std::size_t kMostShared = 99 << 10;  ///< of a thread block on sm_86, 89 and 120
  std::map<std::size_t, Report> reports_;
};

}  // namespace glint::simt
