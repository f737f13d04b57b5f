// Encodes video frames to latents, `frame_scale` frames at a time.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/network/network.hpp>
#include <glint/vae/vae_options.hpp>
#include <glint/vae/video_state.hpp>

#include <memory>

namespace glint {

/// The encoder of a video VAE that is causal in time, the counterpart of VideoDecoder.
/// Thread:  const calls are safe concurrently.
class GLINT_API VideoEncoder {
 public:
  /// Errors:  InvalidArgument if a network is null, a size is not positive or scaling_factor is 0.
  VideoEncoder(std::shared_ptr<const Network> first, std::shared_ptr<const Network> next, VaeOptions options);

  /// Returns the posterior mean (network(frames) - shift_factor) * scaling_factor.
  /// Shapes:  frames [B,3,F,H,W] in [-1,1], F one more than a multiple of frame_scale, H and W multiples of
  ///          spatial_scale s; returns [B,C,1 + (F-1)/frame_scale,H/s,W/s], float32 on the CPU.
  /// Errors:  ShapeMismatch, UnsupportedDtype for frames; InvalidArgument for a bad tile size; BadModel if a
  ///          network returns another number or shape of tensors; Cancelled; OutOfMemory; Internal.
  at::Tensor encode(const at::Tensor& frames, const VaeCall& call = {}) const;

  /// Encodes the frames that follow those in `state`, and updates `state`: 1 + k frame_scale frames in the
  /// first call, k frame_scale in later ones. The result does not depend on how frames are split into calls.
  /// A failed call leaves `state` unchanged.
  /// Errors:  as encode; ShapeMismatch if the shape differs from the frames before.
  at::Tensor encode_next(const at::Tensor& frames, VideoState& state) const;

  const VaeOptions& options() const { return options_; }

 private:
  at::Tensor step(const at::Tensor& frames, VideoState& state) const;

  std::shared_ptr<const Network> first_, next_;
  VaeOptions options_;
};

}  // namespace glint
