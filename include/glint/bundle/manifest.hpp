// A model bundle's manifest: the contents of its model.json, format version 1.
#pragma once

#include <glint/core/level.hpp>
#include <glint/core/schedule_options.hpp>
#include <glint/export.hpp>
#include <glint/fwd.hpp>
#include <glint/model/text_tokens.hpp>
#include <glint/network/backend.hpp>
#include <glint/text/tokenizer.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

enum class Parameterization;

/// The unit of a denoiser's noise-level input.
enum class TimeUnit {
  Timestep,  ///< 0 to train_steps
  Sigma,     ///< the level's sigma
  Unit       ///< 0 to 1; sigma for flow models, timestep / train_steps for VP
};
template <>
struct EnumNames<TimeUnit> {
  static constexpr std::array<std::string_view, 3> values{"timestep", "sigma", "unit"};
};

/// The noise schedule the model was trained with, and the default placement of a run's levels.
struct ScheduleSpec {
  NoiseKind kind = NoiseKind::VariancePreserving;
  VpTraining vp = {};      ///< for variance-preserving models
  FlowTraining flow = {};  ///< for flow models
  GridOptions grid = {};   ///< run defaults: spacing, steps_offset, sigmas
};

/// The denoiser's latent space.
struct LatentSpec {
  int64_t channels = 0;
  int64_t spatial_scale = 1;           ///< pixels per latent pixel along each side
  std::optional<int64_t> frame_scale;  ///< video frames per latent frame; unset for images
  double scaling_factor = 1.0;         ///< the decoder gets latents / scaling_factor + shift_factor
  double shift_factor = 0.0;
  std::optional<int64_t> height, width, frames;  ///< default size, in latent units
  bool fixed_size = false;                       ///< the network takes only the default height and width
  /// Latent pixels per image token along each side; token_order and dynamic shifts count these tokens.
  int64_t patch = 1;
  int64_t multiple = 1;  ///< height and width are multiples of this, in latent units; default: `patch`
  std::optional<int64_t> largest;  ///< largest height and width, in latent units
};

struct GuidanceSpec {
  bool uncond_branch = true;   ///< the model has an unconditional branch
  bool embedded = false;       ///< the scale is an input of the network
  double default_scale = 1.0;  ///< "default" in the file; 1 = off
  bool zero_uncond = false;    ///< without a negative prompt, use zero embeddings instead of the empty prompt
};

/// One file of the bundle.
struct Component {
  std::string file;                                ///< relative to the bundle's folder and inside it
  Backend backend = Backend::TorchScript;          ///< networks only; safetensors is for npnet, core2_weak
  TokenizerKind tokenizer = TokenizerKind::Words;  ///< tokenizers only, "backend" in the file
  std::string sha256;                              ///< of the file, 64 lower-case hex digits
  /// float32 | float16 | bfloat16 | float64. TorchScript and safetensors: the dtype of the stored weights and
  /// of computation, except that half precision computes in float32 unless LoadOptions::dtype asks for it.
  /// Others: the compute dtype of the export.
  std::string dtype = "float32";
  /// The dtype the file was traced to compute in, which the caller cannot change: inputs have it, and weights
  /// are converted to it if `dtype` differs (TorchScript only). Empty = `dtype` decides. Networks only.
  std::string compute;
  std::vector<std::string> inputs;               ///< argument names, in order; required for denoisers
  TimeUnit time = TimeUnit::Timestep;            ///< denoisers only
  TextTokens text_tokens = TextTokens::Unknown;  ///< denoisers only; Unknown = the family's
  TokenFrame frame;                              ///< tokenizers only, if the kind takes one
  int64_t layers = 0;                            ///< text encoders with the input `skip` only
};

/// An adapter (LoRA) shipped with the bundle; off unless a request or a strategy's predictor sets its scale.
struct AdapterEntry {
  std::string file;    ///< safetensors; relative to the bundle's folder and inside it
  std::string sha256;  ///< as a component's
};

/// Returns whether the name denotes a denoiser: denoiser, weak_denoiser, perturbed_denoiser, denoiser_*.
GLINT_API bool is_denoiser(std::string_view component);

/// Returns whether the name denotes a tokenizer: tokenizer, tokenizer_*.
GLINT_API bool is_tokenizer(std::string_view component);

/// A parsed and validated model.json. A component's name is its role: `denoiser` is required; `tokenizer`,
/// `text_encoder`, `vae_decoder`, `vae_decoder_next`, `vae_encoder`, `vae_encoder_next`, `weak_denoiser`,
/// `perturbed_denoiser`, `npnet`, `core2_weak`, `scorer` and others such as `text_encoder_2` or `scorer_2`
/// are optional.
struct Manifest {
  std::string name;
  std::string family;  ///< one of src/family: sdxl, sd3, flux, wan, emoji, tensor
  Parameterization parameterization{};
  ScheduleSpec schedule;
  LatentSpec latent;
  GuidanceSpec guidance;
  std::optional<int64_t> default_steps;
  std::string default_solver;  ///< NAME[:key=value,...], unless requested otherwise; empty if absent
  /// Filters of runs that name no solver, NAME[:key=value,...], around all others, the first innermost.
  std::vector<std::string> default_filters;
  std::vector<int64_t> absent_text;  ///< [L,D] of zeros in place of the text encoder that sd3 can do without
  std::string torch;                 ///< torch version that made the files; empty if absent
  std::map<std::string, Component> components;
  std::map<std::string, AdapterEntry> adapters;  ///< by the name used in requests and strategies
};

/// Parses a manifest. Error messages start with `where` and name the field by its path in the document.
/// Errors:  BadModel if it is not JSON or violates the format: unknown, missing or mistyped field, value out
///          of range, unsupported format version, file path outside the bundle's folder.
GLINT_API Manifest parse_manifest(std::string_view text, const std::string& where = "model.json");

/// Reads the manifest of the bundle in `folder`.
/// Errors:  NotFound if the folder or its model.json is missing; as parse_manifest.
GLINT_API Manifest read_manifest(const std::filesystem::path& folder);

/// Returns all fields of the format as sorted dotted paths. `components.*` stands for any component other
/// than a denoiser or tokenizer, `adapters.*` for any adapter; alternatives for one place are all listed.
GLINT_API std::vector<std::string> manifest_fields();

}  // namespace glint
