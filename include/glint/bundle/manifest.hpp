// What a model bundle says of itself: the content of its model.json, format version 1.
#pragma once

#include <glint/core/level.hpp>
#include <glint/core/schedule_options.hpp>
#include <glint/export.hpp>
#include <glint/fwd.hpp>
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

/// The number by which a denoiser is told the noise level.
enum class TimeUnit {
  Timestep,  ///< 0 to train_steps
  Sigma,     ///< the level's share of noise
  Unit       ///< 0 to 1; sigma for flow models, timestep / train_steps for VP
};
template <>
struct EnumNames<TimeUnit> {
  static constexpr std::array<std::string_view, 3> values{"timestep", "sigma", "unit"};
};

/// The noise schedule the model was trained with, and where a run's levels lie unless it says otherwise.
struct ScheduleSpec {
  NoiseKind kind = NoiseKind::VariancePreserving;
  VpTraining vp = {};      ///< of a variance-preserving model
  FlowTraining flow = {};  ///< of a flow model
  GridOptions grid = {};   ///< defaults of a run: spacing, steps_offset, sigmas
};

/// The space the denoiser works in.
struct LatentSpec {
  int64_t channels = 0;
  int64_t spatial_scale = 1;           ///< pixels per latent pixel, each side
  std::optional<int64_t> frame_scale;  ///< video frames per latent frame; none for images
  double scaling_factor = 1.0;         ///< the decoder is given latents / scaling_factor + shift_factor
  double shift_factor = 0.0;
  std::optional<int64_t> height, width, frames;  ///< default size, in latent units
  bool fixed_size = false;                       ///< the network takes no other height and width
  /// Latent pixels per image token, each side: what token_order and a dynamic shift count.
  int64_t patch = 1;
  int64_t multiple = 1;  ///< height and width are multiples of it, in latent units; `patch` if not told
  std::optional<int64_t> largest;  ///< most latent units of height and of width
};

struct GuidanceSpec {
  bool uncond_branch = true;   ///< the model can be conditioned on nothing
  bool embedded = false;       ///< the scale is an input of the network
  double default_scale = 1.0;  ///< "default"; 1 is off
  bool zero_uncond = false;    ///< an absent negative prompt is embeddings of zeros, not the empty prompt
};

/// One file of the bundle.
struct Component {
  std::string file;                                ///< relative to the bundle's folder, inside it
  Backend backend = Backend::TorchScript;          ///< networks only; safetensors: npnet, core2_weak
  TokenizerKind tokenizer = TokenizerKind::Words;  ///< tokenizers only: what the file calls their "backend"
  std::string sha256;                              ///< of the file, 64 lower-case hexadecimal digits
  /// float32 | float16 | bfloat16 | float64. TorchScript: what weights are stored in; it computes in that on
  /// a GPU, but not in half precision on a CPU. safetensors: the same. Others: what it was exported to
  /// compute in.
  std::string dtype = "float32";
  /// What the file was traced to compute in, whatever the caller wishes: inputs have this dtype. If `dtype`
  /// differs, weights are converted to it (TorchScript only), else none is. Empty if not told; then `dtype`
  /// decides. Networks only.
  std::string compute;
  std::vector<std::string> inputs;     ///< names of the arguments, in order; denoisers must tell
  TimeUnit time = TimeUnit::Timestep;  ///< denoisers only
  TokenFrame frame;                    ///< of tokenizers that are told one
};

/// An adapter (LoRA) that comes with the bundle. Off unless a request, or a strategy's predictor, gives it a
/// scale.
struct AdapterEntry {
  std::string file;    ///< safetensors; relative to the bundle's folder, inside it
  std::string sha256;  ///< as a component's
};

/// Whether a component of this name is a denoiser: denoiser, weak_denoiser, denoiser_*.
GLINT_API bool is_denoiser(std::string_view component);

/// Whether a component of this name is a tokenizer: tokenizer, tokenizer_*.
GLINT_API bool is_tokenizer(std::string_view component);

/// A parsed and checked model.json. A component's name is its role: `denoiser` always exists; `tokenizer`,
/// `text_encoder`, `vae_decoder`, `vae_decoder_next`, `vae_encoder`, `vae_encoder_next`, `weak_denoiser`,
/// `npnet`, `core2_weak`, `scorer` may, as may further ones such as `denoiser_early` or `text_encoder_2`.
struct Manifest {
  std::string name;
  std::string family;  ///< one of src/family: sdxl, sd3, flux, wan, emoji, tensor
  Parameterization parameterization{};
  ScheduleSpec schedule;
  LatentSpec latent;
  GuidanceSpec guidance;
  std::optional<int64_t> default_steps;
  std::string default_solver;  ///< the solver if none is asked for; empty if not told
  std::string torch;           ///< version of torch that made the files; empty if not told
  std::map<std::string, Component> components;
  std::map<std::string, AdapterEntry> adapters;  ///< by the names requests and strategies use
};

/// Returns the manifest in `text`. Messages begin with `where` and name the field by its path in the
/// document.
/// Errors:  BadModel if it is not JSON or breaks a rule of the format: unknown, missing or mistyped field,
///          value out of range, unsupported format version, file path that leaves the bundle's folder.
GLINT_API Manifest parse_manifest(std::string_view text, const std::string& where = "model.json");

/// Returns the manifest of the bundle in `folder`.
/// Errors:  NotFound if there is no folder or no model.json in it; as parse_manifest.
GLINT_API Manifest read_manifest(const std::filesystem::path& folder);

/// Returns every field the parser knows as a dotted path, sorted. `components.*` stands for a component that
/// is not a denoiser or tokenizer, `adapters.*` for an adapter; alternatives of one place are listed
/// together.
GLINT_API std::vector<std::string> manifest_fields();

}  // namespace glint
