#include "vae/network.hpp"

#include <glint/core/error.hpp>
#include <glint/vae/video_encoder.hpp>

namespace glint {

VideoEncoder::VideoEncoder(std::shared_ptr<const Network> first, std::shared_ptr<const Network> next,
                           VaeOptions options)
    : first_(std::move(first)), next_(std::move(next)), options_(std::move(options)) {
  detail::check_vae("video encoder", first_ && next_, options_);
}

at::Tensor VideoEncoder::step(const at::Tensor& frames, VideoState& state) const {
  const int64_t scale = options_.spatial_scale;
  return detail::run_network(
      "video encoder", state.empty() ? *first_ : *next_, frames,
      {frames.size(0), options_.channels, 1, frames.size(3) / scale, frames.size(4) / scale}, options_,
      state);
}

namespace {

/// Calls `encode` for the first frame, if nothing came before, then for every `group` frames.
template <typename Encode>
at::Tensor in_groups(const at::Tensor& frames, bool first, int64_t group, Encode&& encode) {
  std::vector<at::Tensor> parts;
  for (int64_t f = 0; f < frames.size(2);) {
    const int64_t count = first && f == 0 ? 1 : group;
    parts.push_back(encode(frames.narrow(2, f, count)));
    f += count;
  }
  return at::cat(parts, 2);
}

}  // namespace

at::Tensor VideoEncoder::encode(const at::Tensor& frames, const VaeCall& call) const {
  detail::check_pixels(frames, 5, options_);
  detail::check_call(call, options_);
  const int64_t group = options_.frame_scale;
  GLINT_CHECK(frames.size(2) % group == 1 % group, ShapeMismatch,
              "pixels: expected one frame more than a multiple of {}, got {}", group, frames.size(2));
  const detail::TileSides sides{call.tile, call.tile / options_.spatial_scale};
  const bool tiled = detail::needs_tiles(frames, sides);
  const int64_t total = ((frames.size(2) - 1) / group + 1) * (tiled ? detail::tile_count(frames, sides) : 1);
  int64_t done = 0;
  const auto run = [&](const at::Tensor& piece) {
    VideoState state;
    return in_groups(piece, true, group, [&](const at::Tensor& some) {
      detail::ask(call, done++, total);
      return step(some, state);
    });
  };
  return detail::scaled(tiled ? detail::in_tiles(frames, sides, run) : run(frames), options_);
}

at::Tensor VideoEncoder::encode_next(const at::Tensor& frames, VideoState& state) const {
  detail::check_pixels(frames, 5, options_);
  detail::check_continues("pixels", frames, state);
  const int64_t group = options_.frame_scale, remainder = state.empty() ? 1 % group : 0;
  GLINT_CHECK(frames.size(2) % group == remainder, ShapeMismatch,
              "pixels: expected a multiple of {} frames{}, got {}", group,
              state.empty() ? " and one more, the first" : "", frames.size(2));
  VideoState next = state;
  at::Tensor latents =
      in_groups(frames, state.empty(), group, [&](const at::Tensor& some) { return step(some, next); });
  state = std::move(next);
  return detail::scaled(latents, options_);
}

}  // namespace glint
