#include <glint/version.hpp>

#ifndef GLINT_CORE_ONLY
#include <torch/headeronly/version.h>
#endif

namespace glint {

const char* version() noexcept { return GLINT_VERSION; }

const char* torch_version() noexcept {
#ifdef GLINT_CORE_ONLY
  return "";
#else
  return TORCH_VERSION;
#endif
}

}  // namespace glint
