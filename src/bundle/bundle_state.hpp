// What an opened bundle holds.
#pragma once

#include <glint/bundle/bundle.hpp>
#include <glint/core/error.hpp>
#include <glint/lora/adapter.hpp>
#include <glint/vae/vae_options.hpp>

#include <mutex>
#include <optional>

namespace glint {

/// What bundles share that differ in their adapters alone.
struct Loaded {
  // Guards the caches, also those that are not shared. Held while a component loads: loading is rare, and two
  // loads at once would only be slower.
  std::recursive_mutex mutex;
  std::map<std::string, std::shared_ptr<const Network>> networks;
  std::map<std::string, std::shared_ptr<const Tokenizer>> tokenizers;
  std::map<std::string, std::shared_ptr<const TextEncoder>> text_encoders;
  std::shared_ptr<const PromptEncoder> prompt_encoder;
  std::shared_ptr<const ImageDecoder> decoder;
  std::shared_ptr<const ImageEncoder> encoder;
  std::shared_ptr<const VideoDecoder> video_decoder;
  std::shared_ptr<const VideoEncoder> video_encoder;
};

struct Bundle::State {
  std::filesystem::path folder;
  LoadOptions options;
  Manifest manifest;
  std::shared_ptr<Loaded> loaded = std::make_shared<Loaded>();
  std::map<std::string, std::shared_ptr<const Model>> models;
  std::optional<std::map<std::string, AdapterFile>> adapters;
  std::map<std::string, AdaptedNetwork> adapted;  // by component
  Adapters prompt_scales;                         // the last ones text encoders were asked for with
  std::shared_ptr<const PromptEncoder> prompt_encoder;

  const Component& component(const std::string& name) const {
    const auto found = manifest.components.find(name);
    GLINT_CHECK(found != manifest.components.end(), NotFound, "{}: the bundle has no component '{}'",
                folder.string(), name);
    return found->second;
  }

  /// The dtype a component computes in: what it was traced in if it tells, else what the caller wishes, where
  /// the backend can follow, else what it is made for.
  std::string dtype(const Component& component) const {
    if (!component.compute.empty()) return component.compute;
    if (!facts_of(component.backend).converts) return component.dtype;
    if (!options.dtype.empty()) return options.dtype;
    // Half precision saves space in the file; computing in it is the caller's choice, since a network has to
    // be traced for it (its time embedding above all).
    const bool half = component.dtype == "float16" || component.dtype == "bfloat16";
    return half ? "float32" : component.dtype;
  }

  /// What the encoder or decoder of this name is called with. A model makes either pictures or videos.
  VaeOptions vae_options(const std::string& name, bool video) const {
    const auto& latent = manifest.latent;
    GLINT_CHECK(latent.frame_scale.has_value() == video, InvalidArgument,
                "components.{}: model '{}' makes {}", name, manifest.name,
                video ? "pictures, not videos" : "videos, not pictures");
    return {.channels = latent.channels,
            .spatial_scale = latent.spatial_scale,
            .frame_scale = latent.frame_scale.value_or(1),
            .scaling_factor = latent.scaling_factor,
            .shift_factor = latent.shift_factor,
            .dtype = dtype(component(name)),
            .device = options.device};
  }

  /// Returns what is kept, made by `make` when it is first asked for.
  template <typename T, typename Make>
  std::shared_ptr<const T> once(std::shared_ptr<const T>& kept, Make&& make) const {
    const std::lock_guard lock(loaded->mutex);
    if (!kept) kept = make();
    return kept;
  }
  template <typename T, typename Make>
  std::shared_ptr<const T> once(std::map<std::string, std::shared_ptr<const T>>& kept,
                                const std::string& name, Make&& make) const {
    const std::lock_guard lock(loaded->mutex);
    return once(kept[name], std::forward<Make>(make));
  }

  /// The path of a file, once its bytes are known to be what the manifest says at `place`.
  std::filesystem::path checked_file(const std::string& file, const std::string& sha256,
                                     const std::string& place) const;
  std::filesystem::path checked_file(const std::string& name) const {
    return checked_file(component(name).file, component(name).sha256, "components." + name);
  }

  /// The network of a component, which has to be what the manifest says.
  std::shared_ptr<const Network> load_network(const std::string& name) const;

  /// The adapters by name, read when they are first needed.
  const std::map<std::string, AdapterFile>& adapter_files();
};

}  // namespace glint
