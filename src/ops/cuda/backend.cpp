#include "ops/cuda/backend.hpp"

#include "ops/cuda/engine.hpp"
#include "ops/cuda/launch.hpp"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <limits>
#include <vector>

namespace glint::ops::cuda {
namespace {

/// The current stream of one device. Memory is torch's: freed when the call returns, it is handed out again
/// only to work queued later on the same stream.
class StreamDevice {
 public:
  explicit StreamDevice(int device)
      : guard_(static_cast<c10::DeviceIndex>(device)),
        stream_(c10::cuda::getCurrentCUDAStream(guard_.current_device().index())) {}

  template <typename T>
  T* allocate(std::int64_t count) {
    memory_.push_back(
        c10::cuda::CUDACachingAllocator::get()->allocate(static_cast<std::size_t>(count) * sizeof(T)));
    return static_cast<T*>(memory_.back().get());
  }

  template <typename Kernel, typename Params>
  void run(const Params& params, std::int64_t x, std::int64_t y) {
    GLINT_CHECK(x <= std::numeric_limits<int>::max(), InvalidArgument,
                "q: expected fewer than 2^31 thread blocks per head, got {}", x);
    const char* error =
        launch<Kernel>(params, static_cast<unsigned>(x), static_cast<unsigned>(y), stream_.stream());
    if (error)
      fail(ErrorCode::Internal, "CUDA kernel on device {}: {}", guard_.current_device().str(), error);
  }

 private:
  c10::cuda::CUDAGuard guard_;
  c10::cuda::CUDAStream stream_;
  std::vector<c10::DataPtr> memory_;
};

}  // namespace

void pisa_select(const Operands& operands, const PisaOptions& options, BlockList selected, int device) {
  StreamDevice stream(device);
  Engine(stream, operands, options.block_size).pisa_select(options, selected);
}

void pisa(const Operands& operands, const PisaOptions& options, BlockList selected, int device) {
  StreamDevice stream(device);
  Engine(stream, operands, options.block_size).pisa(options, selected);
}

void isa_plan(const Operands& operands, const IsaOptions& options, const PlanLists& plan, int device) {
  StreamDevice stream(device);
  Engine(stream, operands, IsaGrid::kBlock).isa_plan(options, plan);
}

void isa(const Operands& operands, const IsaOptions& options, const PlanLists& plan, const Gate& gate,
         int device) {
  StreamDevice stream(device);
  Engine(stream, operands, IsaGrid::kBlock).isa(options, plan, gate);
}

}  // namespace glint::ops::cuda
