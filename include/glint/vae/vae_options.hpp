// Options shared by VAE encoders and decoders: the constants of their latents, and options of one call.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace glint {

/// The constants of a VAE's latents, and the dtype and device of its networks.
struct VaeOptions {
  int64_t channels = 4;       ///< latent channels
  int64_t spatial_scale = 8;  ///< pixels per latent pixel along each side
  int64_t frame_scale = 4;    ///< video frames per latent frame after the first
  double scaling_factor = 1.0;
  double shift_factor = 0.0;
  std::string dtype = "float32";  ///< input dtype of the networks
  std::string device = "cpu";     ///< device of the networks
};

/// Options of one encoder or decoder call.
struct VaeCall {
  /// Side of the square tiles that larger images are cut into, px: a multiple of 4 spatial_scale; 0 = no
  /// tiling. Tiles overlap by a quarter of their side and are blended there; an image that fits into one tile
  /// is not cut. Bounds the network's memory, not the result's. Near overlaps the result differs from an
  /// untiled one, since the network sees only one tile at a time.
  /// Source:  equals diffusers 0.42.1, AutoencoderKL and AutoencoderKLWan with enable_tiling.
  int64_t tile = 0;
  /// Called before every network call with the calls done and their total; return false to cancel.
  std::function<bool(int64_t done, int64_t total)> proceed = {};
};

}  // namespace glint
