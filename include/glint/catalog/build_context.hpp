// What a registered strategy or rule may need besides its options: the bundle it will run on.
#pragma once

#include <glint/bundle/bundle.hpp>
#include <glint/core/error.hpp>
#include <glint/model/conditioning.hpp>

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace glint {

/// Given to everything the registry makes. Borrowed for the call; what is made shares the components it asked
/// for.
struct BuildContext {
  const Bundle* bundle = nullptr;  ///< none when a host builds a sampler of its own
  std::vector<int64_t> latent_shape =
      {};  ///< of one sample of the run, [C,H,W] or [C,F,H,W]; empty if not known yet

  /// Encodes a further prompt as the run's own is; none when a host builds a sampler of its own.
  std::function<Conditioning(std::string_view prompt)> encode = nullptr;

  /// Returns the conditioning of a prompt, on the model's device. Errors: InvalidArgument, naming who asks,
  /// if nothing encodes; those of PromptEncoder::encode.
  Conditioning encoded(std::string_view owner, std::string_view prompt) const {
    GLINT_CHECK(encode, InvalidArgument, "{}: needs a model bundle to encode a prompt, and the run has none",
                owner);
    return encode(prompt);
  }

  /// Returns the bundle. Errors: InvalidArgument, naming who asks, if there is none.
  const Bundle& bundle_for(std::string_view owner) const {
    GLINT_CHECK(bundle, InvalidArgument, "{}: needs a model bundle, and the run has none", owner);
    return *bundle;
  }
};

}  // namespace glint
