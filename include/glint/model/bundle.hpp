// A model folder, opened: its manifest, and its components on demand.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/model/manifest.hpp>
#include <glint/model/module.hpp>

#include <filesystem>
#include <memory>
#include <string>

namespace glint {

class ImageDecoder;
class ImageEncoder;
class PromptEncoder;
class TextEncoder;
class Tokenizer;
class VideoDecoder;
class VideoEncoder;

/// An opened model bundle. Components are loaded when they are first asked for and kept while the bundle lives; the
/// SHA-256 of a file is checked before anything reads it. Copies share everything.
/// Thread:  const calls are safe concurrently; two threads that ask for one component load it once.
class GLINT_API Bundle {
 public:
  /// Opens the bundle in `folder`: parses the manifest and checks that its files exist.
  /// Errors:  NotFound if the folder, its model.json or a component's file is missing; BadModel as parse_manifest;
  ///          InvalidArgument, UnsupportedDevice for the options, and for a dtype other than the one the denoiser was
  ///          traced to compute in.
  static Bundle load(const std::filesystem::path& folder, const LoadOptions& options = {});

  const Manifest& manifest() const;
  const std::filesystem::path& folder() const;
  const LoadOptions& options() const;

  bool has(const std::string& component) const { return manifest().components.contains(component); }

  /// Returns a denoiser: `denoiser`, or another one such as `weak_denoiser`.
  /// Errors:  NotFound naming the component if the bundle has none; BadModel if its file's SHA-256 is not the
  ///          manifest's; as load_module. These hold for the next five too.
  std::shared_ptr<const Model> model(const std::string& component = "denoiser") const;
  std::shared_ptr<const Tokenizer> tokenizer(const std::string& component = "tokenizer") const;
  /// A text encoder with the tokenizer of its number: text_encoder_2 is fed by tokenizer_2.
  std::shared_ptr<const TextEncoder> text_encoder(const std::string& component = "text_encoder") const;
  /// All of the family's text encoders.   Errors: also NotFound if the bundle has none, so that it takes no prompts.
  std::shared_ptr<const PromptEncoder> prompt_encoder() const;
  std::shared_ptr<const ImageDecoder> decoder() const;

  /// As the six above, from vae_encoder, and with _next the two networks of a video's. InvalidArgument for pictures of a
  /// model that makes videos, and the other way round.
  std::shared_ptr<const ImageEncoder> encoder() const;
  std::shared_ptr<const VideoDecoder> video_decoder() const;
  std::shared_ptr<const VideoEncoder> video_encoder() const;

  /// Returns the network of any component as it is, for those without a class of their own (npnet, scorer).
  std::shared_ptr<const Module> module(const std::string& component) const;

  /// Loads every component now, so that no later call waits for a file.
  void preload() const;

 private:
  struct State;
  explicit Bundle(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace glint
