#include "catalog/entries.hpp"

#include <glint/bundle/component_call.hpp>
#include <glint/catalog/components.hpp>
#include <glint/vae/image_decoder.hpp>

namespace glint {

LatentScorer latent_scorer(const Bundle& bundle, const std::string& component) {
  const ComponentCall scorer(bundle, component, "a scorer", {"image", "ids"});
  return [scorer, decoder = bundle.decoder()](const at::Tensor& latents, const Prompt& prompt) {
    const at::Tensor pictures = decoder->decode(latents.to(at::kFloat)).clamp(-1.0, 1.0);
    const at::Tensor score = scorer({{"image", pictures}}, prompt);
    GLINT_CHECK(score.numel() == latents.size(0), BadModel,
                "{}: expected one score for each of {} pictures, got {}", scorer.component(), latents.size(0),
                shape_string(score.sizes()));
    return score.flatten().to(latents.device(), at::kDouble);
  };
}

namespace {

struct RewardSelectionEntry : RewardSelectionOptions {
  static constexpr EntryInfo info = RewardSelection::info;
  std::string scorer = "scorer";

  static void fields(auto& visit, auto& o) {
    RewardSelectionOptions::fields(visit, o);
    visit("scorer", o.scorer, Field{.help = "the bundle's scorer component"});
  }
};

Product make_reward_selection(const RewardSelectionEntry& o, const BuildContext& context) {
  return std::make_shared<const RewardSelection>(latent_scorer(context.bundle_for(o.info.name), o.scorer), o);
}

}  // namespace

void detail::add_reward_selection(Registry& registry) {
  registry.add<RewardSelectionEntry>(make_reward_selection);
}

}  // namespace glint
