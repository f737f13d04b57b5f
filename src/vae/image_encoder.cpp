#include "vae/network.hpp"

#include <glint/core/error.hpp>
#include <glint/vae/image_encoder.hpp>

namespace glint {

ImageEncoder::ImageEncoder(std::shared_ptr<const Network> network, VaeOptions options)
    : network_(std::move(network)), options_(std::move(options)) {
  detail::check_vae("image encoder", network_ != nullptr, options_);
}

at::Tensor ImageEncoder::encode(const at::Tensor& pixels, const VaeCall& call) const {
  detail::check_pixels(pixels, 4, options_);
  detail::check_call(call, options_);
  const int64_t scale = options_.spatial_scale;
  const detail::TileSides sides{call.tile, call.tile / scale};
  const bool tiled = detail::needs_tiles(pixels, sides);
  const int64_t total = tiled ? detail::tile_count(pixels, sides) : 1;
  int64_t done = 0;
  const auto run = [&](const at::Tensor& x) {
    detail::ask(call, done++, total);
    return detail::run_network("image encoder", *network_, x,
                               {x.size(0), options_.channels, x.size(2) / scale, x.size(3) / scale},
                               options_);
  };
  return detail::scaled(tiled ? detail::in_tiles(pixels, sides, run) : run(pixels), options_);
}

}  // namespace glint
