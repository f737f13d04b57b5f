// An opened model bundle: its manifest, and its components loaded on demand.
#pragma once

#include <glint/bundle/manifest.hpp>
#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/model/model.hpp>
#include <glint/network/network.hpp>

#include <filesystem>
#include <map>
#include <memory>
#include <string>

namespace glint {

class AdaptedNetwork;
class ImageDecoder;
class ImageEncoder;
class PromptEncoder;
class TextEncoder;
class Tokenizer;
class VideoDecoder;
class VideoEncoder;

/// An opened model bundle. Components are loaded on first use and kept until they are let go of (free_params,
/// LoadOptions::memory_limit); what was made of them loads them again when it is next used. Only bytes whose
/// SHA-256 was verified are used. Copies share everything.
/// Thread:  const calls are safe concurrently; concurrent requests for one component load it once.
class GLINT_API Bundle {
 public:
  /// Opens the bundle in `folder`: parses the manifest and checks that its files exist. Calls options.warn if
  /// another torch version made its TorchScript or exported programs.
  /// Errors:  NotFound if the folder, its model.json or a component's file is missing; BadModel as
  ///          parse_manifest; InvalidArgument, UnsupportedDevice for bad options, including a dtype other
  ///          than the one the denoiser was traced to compute in; BadModel if options.sha256 is given and
  ///          is not that of model.json.
  static Bundle load(const std::filesystem::path& folder, const LoadOptions& options = {});

  /// Returns this bundle with additional adapters (LoRA) by name. Both share the components either loads, but
  /// not adapted weights. Adapter files are read when the denoiser or prompt encoder is first requested.
  /// Errors:  NotFound for a missing file; InvalidArgument for a name already taken.
  Bundle with_adapters(const std::map<std::string, AdapterSource>& files) const;

  const Manifest& manifest() const;
  const std::filesystem::path& folder() const;
  /// Returns the SHA-256 of model.json, which fixes every file of the bundle through the hashes in it.
  const std::string& sha256() const;
  const LoadOptions& options() const;

  bool has(const std::string& component) const { return manifest().components.contains(component); }

  /// Returns a denoiser: `denoiser`, which takes the bundle's adapters, or another, such as `weak_denoiser`.
  /// Errors:  NotFound, naming the component, if the bundle lacks it; BadModel if its file does not match the
  ///          manifest's SHA-256, if it is a compiled package for another torch version (major.minor), or if
  ///          the network is known to be for other latents; as load_network. All component accessors below
  ///          fail likewise.
  std::shared_ptr<const Model> model(const std::string& component = "denoiser") const;
  std::shared_ptr<const Tokenizer> tokenizer(const std::string& component = "tokenizer") const;
  /// Returns a text encoder with the tokenizer of the same number: text_encoder_2 uses tokenizer_2.
  std::shared_ptr<const TextEncoder> text_encoder(const std::string& component = "text_encoder") const;
  /// Returns all text encoders of the family, with adapters applied at these scales; unknown names are
  /// ignored.
  /// Errors:  also NotFound if the bundle has no text encoder, so that it takes no prompts.
  std::shared_ptr<const PromptEncoder> prompt_encoder(const Adapters& scales = {}) const;
  std::shared_ptr<const ImageDecoder> decoder() const;

  /// Returns the dtype of a component's floating-point inputs (float32 | float16 | bfloat16 | float64): its
  /// compute dtype, or at least float32 for safetensors components, which convert internally.
  /// Errors:  NotFound.
  std::string dtype(const std::string& component) const;

  /// Returns the VAE encoder from vae_encoder; video decoders and encoders also use the component with suffix
  /// _next.
  /// Errors:  as model(); InvalidArgument for an image VAE of a video model, and vice versa.
  std::shared_ptr<const ImageEncoder> encoder() const;
  std::shared_ptr<const VideoDecoder> video_decoder() const;
  std::shared_ptr<const VideoEncoder> video_encoder() const;

  /// Returns any component's plain network, for those without a class of their own (npnet, scorer).
  std::shared_ptr<const Network> network(const std::string& component) const;

  /// Loads all components, so that no later call waits for a file.
  void preload() const;

  /// Returns the bytes of the weights in memory by component, changed ones of adapters included, and of the
  /// adapter files as "adapters". Exported programs and compiled packages count as large as their files.
  std::map<std::string, int64_t> memory() const;

  /// Returns the bytes that a component's weights take, or will as far as its file tells.   Errors: NotFound.
  int64_t weight_bytes(const std::string& component) const;

  /// Lets go of the weights of all components, also under the objects made of them. A call that runs with
  /// them keeps them until it ends; the next one loads them again, and fails as the accessor did if it
  /// cannot.
  void free_params() const;

 private:
  /// Returns a component with its adapters.
  AdaptedNetwork adapted(const std::string& component) const;
  AdaptedNetwork make_adapted(const std::string& component) const;
  std::shared_ptr<const TextEncoder> text_encoder(const std::string& component,
                                                  std::shared_ptr<const Network> encoder) const;

  static Bundle open(const std::filesystem::path& folder, const LoadOptions& options);

  struct State;
  explicit Bundle(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace glint
