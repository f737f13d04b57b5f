#include "catalog/entries.hpp"

#include <glint/bundle/component_call.hpp>
#include <glint/catalog/components.hpp>

namespace glint {

NoiseNetwork noise_network(const Bundle& bundle, const std::string& component,
                           std::optional<bool> svd_attention, const std::vector<int64_t>& latent_shape) {
  ComponentCall network(bundle, component, "a noise network", {"latents", "tokens", "pooled"});
  // Fail before computing anything, if the run's size is known.
  if (!latent_shape.empty()) network.check_latents(latent_shape);
  if (svd_attention) network = network.with("svd_attention", *svd_attention ? "true" : "false");
  return [network](const at::Tensor& noise, const Prompt& prompt) {
    try {
      return network({{"latents", noise}}, prompt);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::Cancelled || error.code() == ErrorCode::OutOfMemory) throw;
      fail(ErrorCode::ShapeMismatch,
           "golden-noise: component '{}' does not take noise {} with this model's prompt; it was made for "
           "another model or size ({})",
           network.component(), shape_string(noise.sizes()), error.what());
    }
  };
}

namespace {

struct GoldenNoiseEntry : GoldenNoiseOptions {
  static constexpr EntryInfo info = GoldenNoise::info;
  std::string network = "npnet";
  std::optional<bool> svd_attention = std::nullopt;

  static void fields(auto& visit, auto& o) {
    visit("network", o.network, Field{.help = "the bundle's noise-network component"});
    GoldenNoiseOptions::fields(visit, o);
    visit("svd_attention", o.svd_attention,
          Field{.help = "attention in NPNet's SVD branch, which the released inference has and the released "
                        "trainer lacks; default: as in the component's file"});
  }
};

Product make_golden_noise(const GoldenNoiseEntry& o, const BuildContext& context) {
  return std::make_shared<const GoldenNoise>(
      noise_network(context.bundle_for(o.info.name), o.network, o.svd_attention, context.latent_shape), o);
}

}  // namespace

void detail::add_golden_noise(Registry& registry) { registry.add<GoldenNoiseEntry>(make_golden_noise); }

}  // namespace glint
