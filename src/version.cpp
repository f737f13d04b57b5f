#include <glint/version.hpp>

#include <torch/headeronly/version.h>

namespace glint {

const char* version() noexcept { return GLINT_VERSION; }

const char* torch_version() noexcept { return TORCH_VERSION; }

}  // namespace glint
