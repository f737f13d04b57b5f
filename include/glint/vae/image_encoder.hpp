// Pixels to latents: where inversion of a given picture begins.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/network/network.hpp>
#include <glint/vae/vae_options.hpp>

#include <memory>

namespace glint {

/// The encoder of a variational autoencoder.
/// Thread:  const calls are safe concurrently.
class GLINT_API ImageEncoder {
 public:
  /// Errors:  InvalidArgument if the network is null, a size is not positive or scaling_factor is 0.
  ImageEncoder(std::shared_ptr<const Network> network, VaeOptions options);

  /// Returns the latents of `pixels`: (network(pixels) - shift_factor) * scaling_factor, the mean of the
  /// posterior.
  /// Shapes:  pixels [B,3,H,W] in [-1,1] (to_tensor of a picture), H and W multiples of spatial_scale s;
  ///          returns [B,C,H/s,W/s], float32 on the CPU.
  /// Errors:  ShapeMismatch, UnsupportedDtype for pixels; InvalidArgument for a tile size; BadModel if the
  ///          network returns another shape; Cancelled; OutOfMemory; Internal.
  at::Tensor encode(const at::Tensor& pixels, const VaeCall& call = {}) const;

  const VaeOptions& options() const { return options_; }

 private:
  std::shared_ptr<const Network> network_;
  VaeOptions options_;
};

}  // namespace glint
