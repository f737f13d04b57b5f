// Encodes pixels to image latents, e.g. to invert a given image.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/network/network.hpp>
#include <glint/vae/vae_options.hpp>

#include <memory>

namespace glint {

/// The encoder of an image VAE.
/// Thread:  const calls are safe concurrently.
class GLINT_API ImageEncoder {
 public:
  /// Errors:  InvalidArgument if the network is null, a size is not positive or scaling_factor is 0.
  ImageEncoder(std::shared_ptr<const Network> network, VaeOptions options);

  /// Returns the posterior mean (network(pixels) - shift_factor) * scaling_factor.
  /// Shapes:  pixels [B,3,H,W] in [-1,1] (see to_tensor), H and W multiples of spatial_scale s;
  ///          returns [B,C,H/s,W/s], float32 on the CPU.
  /// Errors:  ShapeMismatch, UnsupportedDtype for pixels; InvalidArgument for a bad tile size; BadModel if
  ///          the network returns another shape; Cancelled; OutOfMemory; Internal.
  at::Tensor encode(const at::Tensor& pixels, const VaeCall& call = {}) const;

  const VaeOptions& options() const { return options_; }

 private:
  std::shared_ptr<const Network> network_;
  VaeOptions options_;
};

}  // namespace glint
