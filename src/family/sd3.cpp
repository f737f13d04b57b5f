// Stable Diffusion 3 and 3.5.
#include "family/family.hpp"

namespace glint::families {

Family sd3() {
  return {.name = "sd3",
          .encoders = 3,
          .text = TextLayout{
              .side_by_side = {0, 1}, .behind = 2, .pooled = {0, 1}, .inputs = {"tokens", "pooled"}},
          .text_tokens = TextTokens::Last};
}

}  // namespace glint::families
