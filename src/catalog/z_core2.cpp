#include "catalog/entries.hpp"

#include <glint/catalog/components.hpp>
#include <glint/step/z_core2.hpp>

namespace glint {
namespace {

struct ZCore2Entry : ZCore2Options {
  std::string network = "core2_weak";
  std::optional<TextRows> text = std::nullopt;

  static void fields(auto& visit, auto& o) {
    ZCore2Options::fields(visit, o);
    visit("network", o.network, Field{.help = "the bundle's weak-network component"});
    visit("text", o.text, detail::kTextRowsField);
  }
};

Product make_z_core2(const ZCore2Entry& o, const BuildContext& context) {
  return z_core2(weak_network(context.bundle_for(o.info.name), o.network, o.text), o);
}

}  // namespace

void detail::add_z_core2(Registry& registry) { registry.add<ZCore2Entry>(make_z_core2); }

}  // namespace glint
