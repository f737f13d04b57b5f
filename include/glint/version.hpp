// The versions of glint and of the libtorch it was built against.
#pragma once

#include <glint/export.hpp>

namespace glint {

/// Returns glint's version, e.g. "0.1.0".
GLINT_API const char* version() noexcept;

/// Returns the version of the libtorch whose headers glint was compiled with, e.g. "2.11.0"; empty in
/// the light core.
GLINT_API const char* torch_version() noexcept;

}  // namespace glint
