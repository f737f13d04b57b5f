#include "catalog/entries.hpp"

#include <glint/guidance/perturbation.hpp>

namespace glint {
namespace {

struct PerturbationEntry : PerturbationOptions {
  static constexpr EntryInfo info = Perturbation::info;
  std::string weak_model = "perturbed_denoiser";

  static void fields(auto& visit, auto& o) {
    visit("weak_model", o.weak_model,
          Field{.help = "denoiser component with skipped layers (SLG), or identity (PAG) or blurred (SEG) "
                        "attention"});
    PerturbationOptions::fields(visit, o);
  }
};

Product make_perturbation(const PerturbationEntry& o, const BuildContext& context) {
  return std::make_shared<const Perturbation>(
      WeakBranch{.model = context.model_for(o.info.name, o.weak_model)}, o);
}

}  // namespace

void detail::add_perturbation(Registry& registry) { registry.add<PerturbationEntry>(make_perturbation); }

}  // namespace glint
