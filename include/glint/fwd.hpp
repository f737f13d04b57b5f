// Forward declarations: what an interface header may use without including it.
#pragma once

#ifdef GLINT_CORE_ONLY
namespace glint {
namespace host {
class Tensor;
}
// In the light core, `at` inside glint names its own tensor's namespace, so that algorithms are written once.
namespace at = host;
}  // namespace glint
#else
namespace at {
class Tensor;
}
#endif

namespace glint {

class Bundle;
class Model;
struct AttentionPolicy;
struct Conditioning;
struct Level;
struct NormalizedGuidance;
struct Prompt;

}  // namespace glint
