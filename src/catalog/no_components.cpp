// The light core has no bundles, so BuildContext::bundle_for has refused before one of these is called.
#include <glint/catalog/components.hpp>
#include <glint/core/error.hpp>

namespace glint {
namespace {

[[noreturn]] void no_bundle(const std::string& component) {
  fail(ErrorCode::InvalidArgument, "'{}': the light core has no bundles", component);
}

}  // namespace

WeakNetwork weak_network(const Bundle&, const std::string& component, std::optional<TextRows>) {
  no_bundle(component);
}

NoiseNetwork noise_network(const Bundle&, const std::string& component, std::optional<bool>,
                           const std::vector<int64_t>&) {
  no_bundle(component);
}

LatentScorer latent_scorer(const Bundle&, const std::string& component) { no_bundle(component); }

}  // namespace glint
