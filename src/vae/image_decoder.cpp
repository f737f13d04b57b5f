#include "model/module_loaders.hpp"

#include <glint/error.hpp>
#include <glint/vae/image_decoder.hpp>

namespace glint {

ImageDecoder::ImageDecoder(std::shared_ptr<const Module> network, ImageDecoderOptions options)
    : network_(std::move(network)), options_(std::move(options)) {
  GLINT_CHECK(network_, InvalidArgument, "image decoder: expected a network");
  GLINT_CHECK(options_.channels > 0, InvalidArgument, "channels: expected a positive number, got {}",
              options_.channels);
  GLINT_CHECK(options_.spatial_scale > 0, InvalidArgument,
              "spatial_scale: expected a positive number, got {}", options_.spatial_scale);
  GLINT_CHECK(options_.scaling_factor != 0.0, InvalidArgument,
              "scaling_factor: expected a number other than 0");
  detail::parse_dtype(options_.dtype);
  detail::parse_device(options_.device);
}

at::Tensor ImageDecoder::decode(const at::Tensor& latents) const {
  GLINT_CHECK(latents.defined() && latents.dim() == 4 && latents.size(1) == options_.channels, ShapeMismatch,
              "latents: expected [B,{},H,W], got {}", options_.channels,
              latents.defined() ? shape_string(latents.sizes()) : "an undefined tensor");
  GLINT_CHECK(latents.is_floating_point(), UnsupportedDtype, "latents: expected floating point, got {}",
              at::toString(latents.scalar_type()));
  const auto scaled = latents.div(options_.scaling_factor).add(options_.shift_factor);
  const auto outputs =
      network_->run({scaled.to(detail::parse_device(options_.device), detail::parse_dtype(options_.dtype))});
  const std::vector<int64_t> expected{latents.size(0), 3, latents.size(2) * options_.spatial_scale,
                                      latents.size(3) * options_.spatial_scale};
  GLINT_CHECK(outputs.size() == 1 && outputs[0].sizes() == at::IntArrayRef(expected), BadModel,
              "image decoder: expected {}, got {}", shape_string(expected),
              outputs.empty() ? "nothing" : shape_string(outputs[0].sizes()));
  return outputs[0].to(at::kCPU, at::kFloat);
}

}  // namespace glint
