// What a registered strategy or rule may need besides its options, above all the bundle it runs on.
#pragma once

#include <glint/core/error.hpp>
#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/model/conditioning.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// Passed to everything the registry makes. Borrowed for the call; the product shares the components it
/// requested.
struct BuildContext {
  const Bundle* bundle = nullptr;          ///< null if the host builds its own sampler
  std::vector<int64_t> latent_shape = {};  ///< per sample, [C,H,W] or [C,F,H,W]; empty if not known yet

  /// Encodes another prompt the way the run encodes its own; empty if the host builds its own sampler.
  std::function<Conditioning(std::string_view prompt)> encode = nullptr;

  /// Returns the conditioning of a prompt, on the model's device.
  /// Errors: InvalidArgument, naming `owner`, without an encoder; those of PromptEncoder::encode.
  Conditioning encoded(std::string_view owner, std::string_view prompt) const {
    GLINT_CHECK(encode, InvalidArgument, "{}: needs a model bundle to encode a prompt, and the run has none",
                owner);
    return encode(prompt);
  }

  /// Returns the bundle.   Errors: InvalidArgument, naming `owner`, if there is none.
  const Bundle& bundle_for(std::string_view owner) const {
    GLINT_CHECK(bundle, InvalidArgument, "{}: needs a model bundle, and the run has none", owner);
    return *bundle;
  }

  /// Returns a denoiser component of the bundle.   Errors: as bundle_for; NotFound if there is none.
  GLINT_API std::shared_ptr<const Model> model_for(std::string_view owner,
                                                   const std::string& component) const;
};

}  // namespace glint
