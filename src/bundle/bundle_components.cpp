// Turns a bundle's components into the library's models, encoders and decoders.
#include "bundle/bundle_state.hpp"
#include "family/family.hpp"

#include <glint/bundle/network_model.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/text/prompt_encoder.hpp>
#include <glint/vae/image_decoder.hpp>
#include <glint/vae/image_encoder.hpp>
#include <glint/vae/video_decoder.hpp>
#include <glint/vae/video_encoder.hpp>

#include <algorithm>

namespace glint {

std::shared_ptr<const Model> Bundle::model(const std::string& name) const {
  return state_->once(state_->models, name, [&] {
    const auto& component = state_->component(name);
    GLINT_CHECK(is_denoiser(name), InvalidArgument, "components.{}: not a denoiser", name);
    auto info = model_info(state_->manifest);
    const auto& names = component.inputs;
    info.embedded_guidance = std::find(names.begin(), names.end(), "guidance") != names.end();
    info.device = state_->options.device;
    info.gradients = facts_of(component.backend).gradients;
    info.text_tokens = component.text_tokens != TextTokens::Unknown
                           ? component.text_tokens
                           : families::find(state_->manifest.family).text_tokens;
    NetworkInputs inputs{.names = names,
                         .time = component.time,
                         .train_steps = state_->manifest.schedule.vp.train_steps,
                         .dtype = state_->dtype(component),
                         .device = state_->options.device,
                         .patch = state_->manifest.latent.patch};
    AdaptedNetwork adaptable = name == "denoiser" ? adapted(name) : AdaptedNetwork(network(name));
    return std::make_shared<const NetworkModel>(std::move(adaptable), std::move(info), std::move(inputs));
  });
}

std::shared_ptr<const Tokenizer> Bundle::tokenizer(const std::string& name) const {
  return state_->once(state_->loaded->tokenizers, name, [&] {
    const auto& component = state_->component(name);
    GLINT_CHECK(is_tokenizer(name), InvalidArgument, "components.{}: not a tokenizer", name);
    const auto content = state_->checked_content(component.file, component.sha256, "components." + name);
    return parse_tokenizer(content->text(), (folder() / component.file).string(), component.tokenizer,
                           component.frame);
  });
}

std::shared_ptr<const TextEncoder> Bundle::text_encoder(const std::string& name) const {
  return state_->once(state_->loaded->text_encoders, name, [&] { return text_encoder(name, network(name)); });
}

std::shared_ptr<const TextEncoder> Bundle::text_encoder(const std::string& name,
                                                        std::shared_ptr<const Network> encoder) const {
  constexpr std::string_view kRole = "text_encoder";
  const auto& component = state_->component(name);
  GLINT_CHECK(name.starts_with(kRole), InvalidArgument, "components.{}: not a text encoder", name);
  TextEncoderOptions options{.device = state_->options.device,
                             .layers = component.layers,
                             .any_length = component.backend == Backend::TorchScript};
  if (!component.inputs.empty()) options.inputs = component.inputs;
  return std::make_shared<const TextEncoder>(tokenizer("tokenizer" + name.substr(kRole.size())),
                                             std::move(encoder), std::move(options));
}

std::shared_ptr<const PromptEncoder> Bundle::prompt_encoder(const Adapters& scales) const {
  const std::lock_guard lock(state_->loaded->mutex);
  auto names = PromptEncoder::components(manifest().family);
  if (!manifest().absent_text.empty()) std::erase_if(names, [&](const auto& name) { return !has(name); });
  GLINT_CHECK(!names.empty() && has(names.front()), NotFound,
              "prompt: model '{}' has no text encoder; give its conditioning instead", manifest().name);
  Adapters used;  // the adapters that change a text encoder
  for (const auto& [adapter, file] : state_->adapter_files()) {
    const auto scale = scales.find(adapter);
    const auto changed = [&layers = file.layers](const std::string& name) { return layers.contains(name); };
    if (scale != scales.end() && scale->second != 0.0 && std::any_of(names.begin(), names.end(), changed))
      used.emplace(*scale);
  }
  auto& encoder = used.empty() ? state_->loaded->prompt_encoder : state_->prompt_encoder;
  if (encoder && (used.empty() || state_->prompt_scales == used)) return encoder;
  std::vector<std::shared_ptr<const TextEncoder>> encoders;
  for (const std::string& name : names)
    encoders.push_back(used.empty() ? text_encoder(name) : text_encoder(name, adapted(name).at(used)));
  encoder =
      std::make_shared<const PromptEncoder>(manifest().family, std::move(encoders), manifest().absent_text);
  if (!used.empty()) state_->prompt_scales = used;
  return encoder;
}

std::shared_ptr<const ImageDecoder> Bundle::decoder() const {
  return state_->once(state_->loaded->decoder, [&] {
    auto options = state_->vae_options("vae_decoder", false);
    return std::make_shared<const ImageDecoder>(network("vae_decoder"), std::move(options));
  });
}

std::shared_ptr<const ImageEncoder> Bundle::encoder() const {
  return state_->once(state_->loaded->encoder, [&] {
    auto options = state_->vae_options("vae_encoder", false);
    return std::make_shared<const ImageEncoder>(network("vae_encoder"), std::move(options));
  });
}

std::shared_ptr<const VideoDecoder> Bundle::video_decoder() const {
  return state_->once(state_->loaded->video_decoder, [&] {
    auto options = state_->vae_options("vae_decoder", true);
    return std::make_shared<const VideoDecoder>(network("vae_decoder"), network("vae_decoder_next"),
                                                std::move(options));
  });
}

std::shared_ptr<const VideoEncoder> Bundle::video_encoder() const {
  return state_->once(state_->loaded->video_encoder, [&] {
    auto options = state_->vae_options("vae_encoder", true);
    return std::make_shared<const VideoEncoder>(network("vae_encoder"), network("vae_encoder_next"),
                                                std::move(options));
  });
}

void Bundle::preload() const {
  for (const auto& [name, unused] : manifest().components) {
    if (is_denoiser(name))
      model(name);
    else if (is_tokenizer(name))
      tokenizer(name);
    else
      network(name);
  }
  const auto encoders = PromptEncoder::components(manifest().family);
  if (!encoders.empty() && has(encoders.front())) prompt_encoder();
  const bool video = manifest().latent.frame_scale.has_value();
  if (has("vae_decoder") && video) video_decoder();
  if (has("vae_decoder") && !video) decoder();
}

}  // namespace glint
