// The bundled emoji model, and other models with a single text encoder of their own.
#include "family/family.hpp"

namespace glint::families {

Family emoji() { return {.name = "emoji"}; }

}  // namespace glint::families
