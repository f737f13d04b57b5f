#include "catalog/entries.hpp"

#include <glint/catalog/components.hpp>

namespace glint {

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
