#include "vae/network.hpp"

#include <glint/core/error.hpp>
#include <glint/vae/video_decoder.hpp>

namespace glint {

VideoDecoder::VideoDecoder(std::shared_ptr<const Network> first, std::shared_ptr<const Network> next,
                           VaeOptions options)
    : first_(std::move(first)), next_(std::move(next)), options_(std::move(options)) {
  detail::check_vae("video decoder", first_ && next_, options_);
}

at::Tensor VideoDecoder::step(const at::Tensor& frame, VideoState& state) const {
  const int64_t scale = options_.spatial_scale;
  return detail::run_network("video decoder", state.empty() ? *first_ : *next_, frame,
                             {frame.size(0), 3, state.empty() ? 1 : options_.frame_scale,
                              frame.size(3) * scale, frame.size(4) * scale},
                             options_, state);
}

void VideoDecoder::decode(const at::Tensor& latents, const Sink& sink, const VaeCall& call) const {
  detail::check_latents(latents, 5, options_);
  detail::check_call(call, options_);
  const detail::TileSides sides{call.tile / options_.spatial_scale, call.tile};
  const at::Tensor z = detail::unscaled(latents, options_);
  const int64_t count = z.size(2);
  if (!detail::needs_tiles(z, sides)) {
    VideoState state;
    for (int64_t f = 0; f < count; ++f) {
      detail::ask(call, f, count);
      sink(step(z.narrow(2, f, 1), state).clamp(-1.0, 1.0));
    }
    return;
  }
  const int64_t total = count * detail::tile_count(z, sides);
  int64_t done = 0;
  at::Tensor frames = detail::in_tiles(z, sides, [&](const at::Tensor& tile) {
    VideoState state;
    std::vector<at::Tensor> parts;
    for (int64_t f = 0; f < count; ++f) {
      detail::ask(call, done++, total);
      parts.push_back(step(tile.narrow(2, f, 1), state));
    }
    return at::cat(parts, 2);
  });
  frames.clamp_(-1.0, 1.0);
  sink(frames.narrow(2, 0, 1));
  for (int64_t f = 1; f < frames.size(2); f += options_.frame_scale)
    sink(frames.narrow(2, f, options_.frame_scale));
}

at::Tensor VideoDecoder::decode(const at::Tensor& latents, const VaeCall& call) const {
  std::vector<at::Tensor> parts;
  decode(
      latents, [&](const at::Tensor& frames) { parts.push_back(frames); }, call);
  return at::cat(parts, 2);
}

at::Tensor VideoDecoder::decode_next(const at::Tensor& latents, VideoState& state) const {
  detail::check_latents(latents, 5, options_);
  detail::check_continues("latents", latents, state);
  const at::Tensor z = detail::unscaled(latents, options_);
  VideoState next = state;
  std::vector<at::Tensor> parts;
  for (int64_t f = 0; f < z.size(2); ++f) parts.push_back(step(z.narrow(2, f, 1), next));
  at::Tensor frames = at::cat(parts, 2).clamp_(-1.0, 1.0);
  state = std::move(next);
  return frames;
}

}  // namespace glint
