// Decodes video latents to frames, one latent frame at a time.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/network/network.hpp>
#include <glint/vae/vae_options.hpp>
#include <glint/vae/video_state.hpp>

#include <functional>
#include <memory>

namespace glint {

/// The decoder of a video VAE that is causal in time, as two networks: one decodes the first latent frame,
/// the other each later one from its memory of the frames before. The first latent frame yields 1 video
/// frame, each later one `frame_scale`.
/// Thread:  const calls are safe concurrently.
class GLINT_API VideoDecoder {
 public:
  /// Receives frames [B,3,k,H,W] as they are decoded: k = 1, then frame_scale.
  using Sink = std::function<void(const at::Tensor& frames)>;

  /// Errors:  InvalidArgument if a network is null, a size is not positive or scaling_factor is 0.
  VideoDecoder(std::shared_ptr<const Network> first, std::shared_ptr<const Network> next, VaeOptions options);

  /// Passes the decoded frames to `sink`: network(latents / scaling_factor + shift_factor), clamped to
  /// [-1,1], float32 on the CPU.
  /// Shapes:  latents [B,C,F,H,W]; frames [B,3,k,s H,s W], 1 + frame_scale (F-1) in all.
  /// Cost:    F network calls. Memory does not grow with F, unless the frames need tiling: each tile is
  ///          decoded through all frames before the next, so all pixels (3 channels, 4 bytes each) are held
  ///          until the last tile is done. Going frame by frame instead would keep the network's memory of
  ///          every tile, as much as tiling saves.
  /// Errors:  as the overload below.
  void decode(const at::Tensor& latents, const Sink& sink, const VaeCall& call = {}) const;

  /// Returns all frames: [B,3,1 + frame_scale (F-1),s H,s W].
  /// Errors:  ShapeMismatch, UnsupportedDtype for latents; InvalidArgument for a bad tile size; BadModel if a
  ///          network returns another number or shape of tensors; Cancelled; OutOfMemory; Internal.
  at::Tensor decode(const at::Tensor& latents, const VaeCall& call = {}) const;

  /// Decodes the latent frames that follow those in `state`, and updates `state`. The result does not depend
  /// on how latents are split into calls. A failed call leaves `state` unchanged.
  /// Errors:  as decode; ShapeMismatch if the shape differs from the frames before.
  at::Tensor decode_next(const at::Tensor& latents, VideoState& state) const;

  const VaeOptions& options() const { return options_; }

 private:
  at::Tensor step(const at::Tensor& frame, VideoState& state) const;

  std::shared_ptr<const Network> first_, next_;
  VaeOptions options_;
};

}  // namespace glint
