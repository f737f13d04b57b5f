// Checks and network calls shared by encoders and decoders.
#pragma once

#include "vae/tiles.hpp"

#include <glint/network/network.hpp>
#include <glint/vae/vae_options.hpp>
#include <glint/vae/video_state.hpp>

#include <string>

namespace glint::detail {

/// Checks the options of the encoder or decoder called `what`.   Errors: InvalidArgument.
void check_vae(const std::string& what, bool networks, const VaeOptions& options);

/// Checks `call` against these options.
/// Errors: InvalidArgument unless tile is 0 or a positive multiple of 4 spatial_scale.
void check_call(const VaeCall& call, const VaeOptions& options);

/// Checks latents [B,C,(F,)H,W] with `rank` dimensions.   Errors: ShapeMismatch, UnsupportedDtype.
void check_latents(const at::Tensor& latents, int64_t rank, const VaeOptions& options);

/// Checks pixels [B,3,(F,)H,W] with `rank` dimensions.   Errors: ShapeMismatch, UnsupportedDtype.
void check_pixels(const at::Tensor& pixels, int64_t rank, const VaeOptions& options);

/// Returns latents / scaling_factor + shift_factor, and the inverse.
at::Tensor unscaled(const at::Tensor& latents, const VaeOptions& options);
at::Tensor scaled(const at::Tensor& latents, const VaeOptions& options);

/// Asks whether to continue before call `done` of `total`.   Errors: Cancelled.
void ask(const VaeCall& call, int64_t done, int64_t total);

/// Returns network(input) as float32 on the CPU.
/// Errors:  BadModel if it does not return one tensor of shape `expected`; those of Network::run.
at::Tensor run_network(const std::string& what, const Network& network, const at::Tensor& input,
                       const std::vector<int64_t>& expected, const VaeOptions& options);

/// Same, for a network with memory: it also takes the state's tensors and returns the next state's. `state`
/// changes only on success.
at::Tensor run_network(const std::string& what, const Network& network, const at::Tensor& input,
                       const std::vector<int64_t>& expected, const VaeOptions& options, VideoState& state);

/// Rejects frames that do not continue those in `state`.   Errors: ShapeMismatch.
void check_continues(const std::string& what, const at::Tensor& frames, const VideoState& state);

}  // namespace glint::detail
