// What all encoders and decoders are given: the constants of their latents, and how one call goes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace glint {

/// The constants and types of a variational autoencoder's networks.
struct VaeOptions {
  int64_t channels = 4;       ///< of the latents
  int64_t spatial_scale = 8;  ///< pixels per latent pixel, each side
  int64_t frame_scale = 4;    ///< frames per latent frame after the first; of videos only
  double scaling_factor = 1.0;
  double shift_factor = 0.0;
  std::string dtype = "float32";  ///< what the networks take
  std::string device = "cpu";     ///< where the networks were loaded
};

/// How one call of an encoder or decoder goes.
struct VaeCall {
  /// Side of the square tiles that a larger picture is cut into, px: a multiple of 4 spatial_scale, or 0 for
  /// one piece. Tiles overlap by a quarter of their side and are blended there; a picture that fits into one
  /// is not cut, and comes out as with 0. Bounds the memory of the network, not that of the result. Near the
  /// overlaps the result differs from that of one piece, since a tile's network sees nothing of its
  /// neighbours.
  /// Source:  diffusers 0.42.1, AutoencoderKL and AutoencoderKLWan with enable_tiling, which this equals.
  int64_t tile = 0;
  /// Asked before every call of the network with the calls done and the calls of all; false cancels.
  std::function<bool(int64_t done, int64_t total)> proceed = {};
};

}  // namespace glint
