// A model folder, opened: its manifest, and its components on demand.
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

/// An opened model bundle. Components are loaded when they are first asked for and kept while the bundle
/// lives; the SHA-256 of a file is checked before anything reads it. Copies share everything.
/// Thread:  const calls are safe concurrently; two threads that ask for one component load it once.
class GLINT_API Bundle {
 public:
  /// Opens the bundle in `folder`: parses the manifest and checks that its files exist.
  /// Tells options.warn if another torch made TorchScript or exported programs in it.
  /// Errors:  NotFound if the folder, its model.json or a component's file is missing; BadModel as
  ///          parse_manifest; InvalidArgument, UnsupportedDevice for the options, and for a dtype other than
  ///          the one the denoiser was traced to compute in.
  static Bundle load(const std::filesystem::path& folder, const LoadOptions& options = {});

  /// Returns the bundle with further adapters (LoRA), by name. It shares with this one what either has loaded
  /// or will load, and keeps changed weights of its own.
  /// Errors:  NotFound for a file that is not there; InvalidArgument for a name that is taken. The files are
  ///          read when the denoiser or the prompt encoder is asked for.
  Bundle with_adapters(const std::map<std::string, std::filesystem::path>& files) const;

  const Manifest& manifest() const;
  const std::filesystem::path& folder() const;
  const LoadOptions& options() const;

  bool has(const std::string& component) const { return manifest().components.contains(component); }

  /// Returns a denoiser: `denoiser`, which has the bundle's adapters, or another one such as `weak_denoiser`.
  /// Errors:  NotFound naming the component if the bundle has none; BadModel if its file's SHA-256 is not the
  ///          manifest's, if it is a compiled package of another torch (by the first two numbers of its
  ///          version), or if the network knows that it was made for other latents; as load_network. These
  ///          hold for the next five too.
  std::shared_ptr<const Model> model(const std::string& component = "denoiser") const;
  std::shared_ptr<const Tokenizer> tokenizer(const std::string& component = "tokenizer") const;
  /// A text encoder with the tokenizer of its number: text_encoder_2 is fed by tokenizer_2.
  std::shared_ptr<const TextEncoder> text_encoder(const std::string& component = "text_encoder") const;
  /// All of the family's text encoders, with what adapters at these scales change in them; names without an
  /// adapter are ignored.   Errors: also NotFound if the bundle has none, so that it takes no prompts.
  std::shared_ptr<const PromptEncoder> prompt_encoder(const Adapters& scales = {}) const;
  std::shared_ptr<const ImageDecoder> decoder() const;

  /// Returns the dtype of a component's floating inputs (float32 | float16 | bfloat16 | float64): what it
  /// computes in, but for safetensors components, which convert by themselves, at least float32.
  /// Errors:  NotFound.
  std::string dtype(const std::string& component) const;

  /// As the six above, from vae_encoder, and with _next the two networks of a video's. InvalidArgument for
  /// pictures of a model that makes videos, and the other way round.
  std::shared_ptr<const ImageEncoder> encoder() const;
  std::shared_ptr<const VideoDecoder> video_decoder() const;
  std::shared_ptr<const VideoEncoder> video_encoder() const;

  /// Returns the network of any component as it is, for those without a class of their own (npnet, scorer).
  std::shared_ptr<const Network> network(const std::string& component) const;

  /// Loads every component now, so that no later call waits for a file.
  void preload() const;

 private:
  /// A component and what the adapters change in it.
  AdaptedNetwork adapted(const std::string& component) const;
  std::shared_ptr<const TextEncoder> text_encoder(const std::string& component,
                                                  std::shared_ptr<const Network> encoder) const;

  struct State;
  explicit Bundle(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace glint
