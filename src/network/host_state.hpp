// The state of torch that a host may have changed for the calling thread, put aside while glint works.
#pragma once

#include "core/boundary.hpp"

#include <c10/core/AutogradState.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <optional>
#include <string>
#include <utility>

namespace glint::detail {

/// While alive, the calling thread is neither in inference mode, whose tensors no gradient can pass and no
/// host may change, nor under autocast, which would compute in another precision. Whether gradients are
/// recorded stays the host's choice, which in inference mode is no.
class OwnTorchState {
 public:
  OwnTorchState() : no_autocast_(c10::autocast_dispatch_keyset) {
    if (!c10::InferenceMode::is_enabled()) return;
    ordinary_.emplace(false);
    c10::GradMode::set_enabled(false);  // restored with the rest by ordinary_
  }

 private:
  c10::impl::ExcludeDispatchKeyGuard no_autocast_;
  std::optional<c10::InferenceMode> ordinary_;
};

/// Returns `tensor`, or an ordinary copy of one that was made in inference mode.
inline at::Tensor ordinary_tensor(const at::Tensor& tensor) {
  return tensor.defined() && tensor.is_inference() ? tensor.clone() : tensor;
}

/// at_boundary for functions that compute with torch.
template <typename Function>
auto torch_boundary(ErrorCode code, const std::string& what, Function&& function) {
  return at_boundary(code, what, [&] {
    const OwnTorchState state;
    return std::forward<Function>(function)();
  });
}

}  // namespace glint::detail
