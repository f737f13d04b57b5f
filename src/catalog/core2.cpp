#include "catalog/entries.hpp"

#include <glint/catalog/components.hpp>

namespace glint {

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
