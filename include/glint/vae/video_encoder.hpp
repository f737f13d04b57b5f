// The frames of a video to latents, `frame_scale` frames at a time.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/network/network.hpp>
#include <glint/vae/vae_options.hpp>
#include <glint/vae/video_state.hpp>

#include <memory>

namespace glint {

/// The encoder of a variational autoencoder that is causal in time: VideoDecoder's other direction.
/// Thread:  const calls are safe concurrently.
class GLINT_API VideoEncoder {
 public:
  /// Errors:  InvalidArgument if a network is null, a size is not positive or scaling_factor is 0.
  VideoEncoder(std::shared_ptr<const Network> first, std::shared_ptr<const Network> next, VaeOptions options);

  /// Returns the latents of `frames`: (network(frames) - shift_factor) * scaling_factor, the mean of the
  /// posterior.
  /// Shapes:  frames [B,3,F,H,W] in [-1,1], F one more than a multiple of frame_scale, H and W multiples of
  ///          spatial_scale s; returns [B,C,1 + (F-1)/frame_scale,H/s,W/s], float32 on the CPU.
  /// Errors:  ShapeMismatch, UnsupportedDtype for frames; InvalidArgument for a tile size; BadModel if a
  ///          network returns another number or shape of tensors; Cancelled; OutOfMemory; Internal.
  at::Tensor encode(const at::Tensor& frames, const VaeCall& call = {}) const;

  /// Returns the latents of the frames that follow those `state` remembers, and lets it remember these too:
  /// at first 1 + k frame_scale frames, then k frame_scale. However frames are cut into calls, the latents
  /// are the same. A call that fails leaves `state` as it was.
  /// Errors:  as encode; ShapeMismatch if the frames have another shape than those before.
  at::Tensor encode_next(const at::Tensor& frames, VideoState& state) const;

  const VaeOptions& options() const { return options_; }

 private:
  at::Tensor step(const at::Tensor& frames, VideoState& state) const;

  std::shared_ptr<const Network> first_, next_;
  VaeOptions options_;
};

}  // namespace glint
