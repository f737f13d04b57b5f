#include <glint/bundle/component_call.hpp>
#include <glint/catalog/components.hpp>
#include <glint/vae/image_decoder.hpp>

namespace glint {

WeakNetwork weak_network(const Bundle& bundle, const std::string& component, std::optional<TextRows> text) {
  ComponentCall network(
      bundle, component, "a weak network",
      {"output", "latents", "sigma", "position", "tokens", "pooled", "null_tokens", "null_pooled"});
  if (text) network = network.with("text", enum_name(*text));
  return [network](const at::Tensor& cond, const GuidanceStep& step) {
    const auto filled = [&](double value) {
      return at::full({cond.size(0)}, value, cond.options().dtype(at::kFloat));
    };
    const double position = static_cast<double>(step.position.step) / step.position.steps;
    const at::Tensor made = network({{"output", cond},
                                     {"latents", step.x},
                                     {"sigma", filled(step.level.sigma)},
                                     {"position", filled(position)}},
                                    step.prompt);
    GLINT_CHECK(made.sizes() == cond.sizes(), ShapeMismatch, "{}: expected a prediction of shape {}, got {}",
                network.component(), shape_string(cond.sizes()), shape_string(made.sizes()));
    return made.to(cond.options());
  };
}

NoiseNetwork noise_network(const Bundle& bundle, const std::string& component,
                           std::optional<bool> svd_attention, const std::vector<int64_t>& latent_shape) {
  ComponentCall network(bundle, component, "a noise network", {"latents", "tokens", "pooled"});
  // Fail before computing anything, if the run's size is known.
  if (!latent_shape.empty()) network.check_latents(latent_shape);
  if (svd_attention) network = network.with("svd_attention", *svd_attention ? "true" : "false");
  return [network](const at::Tensor& noise, const Prompt& prompt) {
    try {
      return network({{"latents", noise}}, prompt);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::Cancelled || error.code() == ErrorCode::OutOfMemory) throw;
      fail(ErrorCode::ShapeMismatch,
           "golden-noise: component '{}' does not take noise {} with this model's prompt; it was made for "
           "another model or size ({})",
           network.component(), shape_string(noise.sizes()), error.what());
    }
  };
}

LatentScorer latent_scorer(const Bundle& bundle, const std::string& component) {
  const ComponentCall scorer(bundle, component, "a scorer", {"image", "ids"});
  return [scorer, decoder = bundle.decoder()](const at::Tensor& latents, const Prompt& prompt) {
    const at::Tensor pictures = decoder->decode(latents.to(at::kFloat)).clamp(-1.0, 1.0);
    const at::Tensor score = scorer({{"image", pictures}}, prompt);
    GLINT_CHECK(score.numel() == latents.size(0), BadModel,
                "{}: expected one score for each of {} pictures, got {}", scorer.component(), latents.size(0),
                shape_string(score.sizes()));
    return score.flatten().to(latents.device(), at::kDouble);
  };
}

}  // namespace glint
