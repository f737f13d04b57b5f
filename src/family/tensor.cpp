// A bare denoiser, conditioned on tensors.
#include "family/family.hpp"

namespace glint::families {

Family tensor() { return {.name = "tensor", .encoders = 0}; }

}  // namespace glint::families
