#include "catalog/entries.hpp"

#include <glint/catalog/components.hpp>

namespace glint {

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
