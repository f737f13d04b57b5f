#include "catalog/entries.hpp"

#include <glint/guidance/autoguidance.hpp>

namespace glint {
namespace {

struct AutoGuidanceEntry : AutoGuidanceOptions {
  static constexpr EntryInfo info = AutoGuidance::info;
  std::string weak_model = "weak_denoiser";

  static void fields(auto& visit, auto& o) {
    visit("weak_model", o.weak_model, Field{.help = "denoiser component to guide away from"});
    AutoGuidanceOptions::fields(visit, o);
  }
};

Product make_autoguidance(const AutoGuidanceEntry& o, const BuildContext& context) {
  return std::make_shared<const AutoGuidance>(
      WeakBranch{.model = context.model_for(o.info.name, o.weak_model)}, o);
}

}  // namespace

void detail::add_autoguidance(Registry& registry) { registry.add<AutoGuidanceEntry>(make_autoguidance); }

}  // namespace glint
