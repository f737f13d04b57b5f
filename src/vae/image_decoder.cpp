#include "vae/network.hpp"

#include <glint/core/error.hpp>
#include <glint/vae/image_decoder.hpp>

namespace glint {

ImageDecoder::ImageDecoder(std::shared_ptr<const Network> network, VaeOptions options)
    : network_(std::move(network)), options_(std::move(options)) {
  detail::check_vae("image decoder", network_ != nullptr, options_);
}

at::Tensor ImageDecoder::decode(const at::Tensor& latents, const VaeCall& call) const {
  detail::check_latents(latents, 4, options_);
  detail::check_call(call, options_);
  const int64_t scale = options_.spatial_scale;
  const detail::TileSides sides{call.tile / scale, call.tile};
  const bool tiled = detail::needs_tiles(latents, sides);
  const int64_t total = tiled ? detail::tile_count(latents, sides) : 1;
  int64_t done = 0;
  const auto run = [&](const at::Tensor& z) {
    detail::ask(call, done++, total);
    return detail::run_network("image decoder", *network_, z,
                               {z.size(0), 3, z.size(2) * scale, z.size(3) * scale}, options_);
  };
  const at::Tensor z = detail::unscaled(latents, options_);
  return tiled ? detail::in_tiles(z, sides, run) : run(z);
}

}  // namespace glint
