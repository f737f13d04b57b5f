// Latents to pixels.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/model/module.hpp>

#include <memory>
#include <string>

namespace glint {

/// The constants and types a decoder network is called with.
struct ImageDecoderOptions {
  int64_t channels = 4;       ///< of the latents
  int64_t spatial_scale = 8;  ///< pixels per latent pixel, each side
  double scaling_factor = 1.0;
  double shift_factor = 0.0;
  std::string dtype = "float32";  ///< what the network takes
  std::string device = "cpu";     ///< where the network was loaded
};

/// The decoder of a variational autoencoder.
/// Thread:  const calls are safe concurrently.
class GLINT_API ImageDecoder {
 public:
  /// Errors:  InvalidArgument if the module is null, a size is not positive or scaling_factor is 0.
  ImageDecoder(std::shared_ptr<const Module> network, ImageDecoderOptions options);

  /// Returns the pictures of `latents`: network(latents / scaling_factor + shift_factor), nominally in [-1,1].
  /// Shapes:  latents [B,C,H,W]; returns [B,3,s H,s W], float32 on the CPU.
  /// Errors:  ShapeMismatch, UnsupportedDtype for latents; BadModel if the network returns another shape; Internal.
  at::Tensor decode(const at::Tensor& latents) const;

  const ImageDecoderOptions& options() const { return options_; }

 private:
  std::shared_ptr<const Module> network_;
  ImageDecoderOptions options_;
};

}  // namespace glint
