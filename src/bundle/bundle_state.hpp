// The state behind an opened bundle.
#pragma once

#include "bundle/held_network.hpp"
#include "network/loaders.hpp"

#include <glint/bundle/bundle.hpp>
#include <glint/core/error.hpp>
#include <glint/lora/adapter.hpp>
#include <glint/vae/vae_options.hpp>

#include <mutex>
#include <optional>

namespace glint {

/// The state shared by bundles that differ only in their adapters.
struct Loaded {
  std::shared_ptr<detail::WeightLedger> ledger;
  std::recursive_mutex& mutex = ledger->mutex;  // guards all caches, including unshared ones
  std::map<std::string, std::shared_ptr<const detail::HeldNetwork>> networks;
  std::map<std::string, std::shared_ptr<const Tokenizer>> tokenizers;
  std::map<std::string, std::shared_ptr<const TextEncoder>> text_encoders;
  std::shared_ptr<const PromptEncoder> prompt_encoder;
  std::shared_ptr<const ImageDecoder> decoder;
  std::shared_ptr<const ImageEncoder> encoder;
  std::shared_ptr<const VideoDecoder> video_decoder;
  std::shared_ptr<const VideoEncoder> video_encoder;

  explicit Loaded(int64_t memory_limit) : ledger(std::make_shared<detail::WeightLedger>(memory_limit)) {}
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;
};

/// All it takes to load a component's network, any number of times.
struct ComponentFile {
  std::string name;
  std::filesystem::path folder;
  Component component;
  LoadOptions options;          ///< dtype and gradients as this component has them
  std::string torch;            ///< the version that made it
  std::vector<int64_t> latent;  ///< the shape of one sample, -1 for sizes set by the request

  /// Throws unless it may be loaded, as far as can be told without the file.
  void check() const;
  /// Loads the network after verifying it against the manifest.
  std::shared_ptr<const Network> load() const;
  /// Returns the bytes its weights are expected to take.
  int64_t expected_bytes() const;
};

struct Bundle::State {
  std::filesystem::path folder;
  LoadOptions options;
  Manifest manifest;
  std::string sha256;  // of model.json
  std::shared_ptr<Loaded> loaded;
  std::map<std::string, std::shared_ptr<const Model>> models;
  std::optional<std::map<std::string, AdapterFile>> adapters;
  std::map<std::string, std::shared_ptr<const AdaptedNetwork>> adapted;  // by component name
  Adapters prompt_scales;  // the scales of the last prompt encoder
  std::shared_ptr<const PromptEncoder> prompt_encoder;

  const Component& component(const std::string& name) const {
    const auto found = manifest.components.find(name);
    GLINT_CHECK(found != manifest.components.end(), NotFound, "{}: the bundle has no component '{}'",
                folder.string(), name);
    return found->second;
  }

  /// Returns the dtype a component computes in: the one it was traced in, if known; else the caller's, if the
  /// backend supports it; else the manifest's.
  std::string dtype(const Component& component) const {
    if (!component.compute.empty()) return component.compute;
    if (!facts_of(component.backend).converts) return component.dtype;
    if (!options.dtype.empty()) return options.dtype;
    // Half precision in a file only saves space. Computing in it is the caller's choice, since the network
    // must have been traced for it (above all its time embedding).
    const bool half = component.dtype == "float16" || component.dtype == "bfloat16";
    return half ? "float32" : component.dtype;
  }

  /// Returns the options of an encoder or decoder. A model makes either images or videos.
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

  /// Returns the cached object, calling `make` on first use.
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

  /// Reads a file and verifies the SHA-256 of what was read, given by the manifest at `place`.
  std::shared_ptr<const detail::FileBytes> checked_content(const std::string& file, const std::string& sha256,
                                                           const std::string& place) const;

  /// Returns the file of a component's network and how to load it.
  ComponentFile file_of(const std::string& name) const;

  /// Returns a component's network, loaded on first use.
  std::shared_ptr<const detail::HeldNetwork> held(const std::string& name) const;

  /// Returns what the adapter files that were read have in memory.
  WeightBytes adapter_bytes() const;

  /// Returns the adapters by name, read on first use.
  const std::map<std::string, AdapterFile>& adapter_files();
};

}  // namespace glint
