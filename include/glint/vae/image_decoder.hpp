// Decodes image latents to pixels.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/network/network.hpp>
#include <glint/vae/vae_options.hpp>

#include <memory>

namespace glint {

/// The decoder of an image VAE.
/// Thread:  const calls are safe concurrently.
class GLINT_API ImageDecoder {
 public:
  /// Errors:  InvalidArgument if the network is null, a size is not positive or scaling_factor is 0.
  ImageDecoder(std::shared_ptr<const Network> network, VaeOptions options);

  /// Returns network(latents / scaling_factor + shift_factor), nominally in [-1,1].
  /// Shapes:  latents [B,C,H,W]; returns [B,3,s H,s W], float32 on the CPU.
  /// Errors:  ShapeMismatch, UnsupportedDtype for latents; InvalidArgument for a bad tile size; BadModel if
  ///          the network returns another shape; Cancelled; OutOfMemory; Internal.
  at::Tensor decode(const at::Tensor& latents, const VaeCall& call = {}) const;

  const VaeOptions& options() const { return options_; }

 private:
  std::shared_ptr<const Network> network_;
  VaeOptions options_;
};

}  // namespace glint
