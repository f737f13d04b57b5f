// Latents to the frames of a video, one latent frame after the other.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/network/network.hpp>
#include <glint/vae/vae_options.hpp>
#include <glint/vae/video_state.hpp>

#include <functional>
#include <memory>

namespace glint {

/// The decoder of a variational autoencoder that is causal in time, as two networks: one decodes the first
/// latent frame, one each later frame from what is remembered of those before it. The first latent frame is 1
/// frame of video, each later one `frame_scale`.
/// Thread:  const calls are safe concurrently.
class GLINT_API VideoDecoder {
 public:
  /// Takes frames [B,3,k,H,W] as they are made, k = 1 and then frame_scale.
  using Sink = std::function<void(const at::Tensor& frames)>;

  /// Errors:  InvalidArgument if a network is null, a size is not positive or scaling_factor is 0.
  VideoDecoder(std::shared_ptr<const Network> first, std::shared_ptr<const Network> next, VaeOptions options);

  /// Hands the frames of `latents` to `sink`: network(latents / scaling_factor + shift_factor), clamped to
  /// [-1,1], float32 on the CPU.
  /// Shapes:  latents [B,C,F,H,W]; frames [B,3,k,s H,s W], 1 + frame_scale (F-1) in all.
  /// Cost:    F calls of the network. Memory does not grow with F, except where tiles are asked for and
  ///          needed: a tile is decoded through all frames before the next, so all pixels (4 bytes each of 3
  ///          channels) are kept until the last tile is done. The network's memory of a whole frame, kept per
  ///          tile, would be as large as what tiles save.
  /// Errors:  as decode.
  void decode(const at::Tensor& latents, const Sink& sink, const VaeCall& call = {}) const;

  /// Returns all frames: [B,3,1 + frame_scale (F-1),s H,s W].
  /// Errors:  ShapeMismatch, UnsupportedDtype for latents; InvalidArgument for a tile size; BadModel if a
  ///          network returns another number or shape of tensors; Cancelled; OutOfMemory; Internal.
  at::Tensor decode(const at::Tensor& latents, const VaeCall& call = {}) const;

  /// Returns the frames of the latent frames that follow those `state` remembers, and lets it remember these
  /// too. However latents are cut into calls, the frames are the same. A call that fails leaves `state` as it
  /// was.
  /// Errors:  as decode; ShapeMismatch if the frames have another shape than those before.
  at::Tensor decode_next(const at::Tensor& latents, VideoState& state) const;

  const VaeOptions& options() const { return options_; }

 private:
  at::Tensor step(const at::Tensor& frame, VideoState& state) const;

  std::shared_ptr<const Network> first_, next_;
  VaeOptions options_;
};

}  // namespace glint
