// What a registered strategy or rule may need besides its options: the bundle it will run on.
#pragma once

#include <glint/error.hpp>
#include <glint/model/bundle.hpp>

#include <cstdint>
#include <string_view>
#include <vector>

namespace glint {

/// Given to everything the registry makes. Borrowed for the call; what is made shares the components it asked for.
struct BuildContext {
  const Bundle* bundle = nullptr;  ///< none when a host builds a sampler of its own
  std::vector<int64_t> latent_shape =
      {};  ///< of one sample of the run, [C,H,W] or [C,F,H,W]; empty if not known yet

  /// Returns the bundle. Errors: InvalidArgument, naming who asks, if there is none.
  const Bundle& bundle_for(std::string_view owner) const {
    GLINT_CHECK(bundle, InvalidArgument, "{}: needs a model bundle, and the run has none", owner);
    return *bundle;
  }
};

}  // namespace glint
