// The bundled model, and whatever else has one text encoder made for it.
#include "family/family.hpp"

namespace glint::families {

Family emoji() { return {.name = "emoji"}; }

}  // namespace glint::families
