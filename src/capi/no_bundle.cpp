// The library without bundles.
#include "capi/engine.hpp"

namespace glint::capi {

std::shared_ptr<const Engine> make_bundle_engine(const std::string& folder, const std::string&, Engine::Log) {
  throw Refused(
      GLINT_UNSUPPORTED,
      message("bundle '{}': this library runs models of the host only; glint_c has bundles", folder));
}

}  // namespace glint::capi
