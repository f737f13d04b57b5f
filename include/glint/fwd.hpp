// Forward declarations: what an interface header may use without including it.
#pragma once

namespace at {
class Tensor;
}

namespace glint {

class Model;
struct AttentionPolicy;
struct Conditioning;
struct Level;
struct Prompt;

}  // namespace glint
