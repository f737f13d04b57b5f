// The library without bundles.
#include "capi/engine.hpp"

namespace glint::capi {

std::shared_ptr<const Engine> make_bundle_engine(const glint_engine_config& config, Engine::Log) {
  throw Refused(
      GLINT_UNSUPPORTED,
      message("bundle '{}': this library runs models of the host only; glint_c has bundles", config.bundle));
}

}  // namespace glint::capi
