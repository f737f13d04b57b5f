#include "catalog/entries.hpp"

#include <glint/bundle/component_call.hpp>
#include <glint/catalog/components.hpp>

namespace glint {

WeakNetwork weak_network(const Bundle& bundle, const std::string& component, std::optional<TextRows> text) {
  ComponentCall network(
      bundle, component, "a weak network",
      {"output", "latents", "sigma", "position", "tokens", "pooled", "null_tokens", "null_pooled"});
  if (text) network = network.with("text", enum_name(*text));
  return [network](const at::Tensor& cond, const GuidanceStep& step) {
    const auto filled = [&](double value) {
      return at::full({cond.size(0)}, value, cond.options().dtype(at::kFloat));
    };
    const double position = static_cast<double>(step.position.step) / step.position.steps;
    const at::Tensor made = network({{"output", cond},
                                     {"latents", step.x},
                                     {"sigma", filled(step.level.sigma)},
                                     {"position", filled(position)}},
                                    step.prompt);
    GLINT_CHECK(made.sizes() == cond.sizes(), ShapeMismatch, "{}: expected a prediction of shape {}, got {}",
                network.component(), shape_string(cond.sizes()), shape_string(made.sizes()));
    return made.to(cond.options());
  };
}

namespace {

struct Core2Entry : Core2Options {
  static constexpr EntryInfo info = Core2::info;
  std::string network = "core2_weak";
  std::optional<TextRows> text = std::nullopt;

  static void fields(auto& visit, auto& o) {
    Core2Options::fields(visit, o);
    visit("network", o.network, Field{.help = "the bundle's weak-network component"});
    visit("text", o.text, detail::kTextRowsField);
  }
};

Product make_core2(const Core2Entry& o, const BuildContext& context) {
  return std::make_shared<const Core2>(weak_network(context.bundle_for(o.info.name), o.network, o.text), o);
}

}  // namespace

void detail::add_core2(Registry& registry) { registry.add<Core2Entry>(make_core2); }

}  // namespace glint
