// Interface of a denoising network: all a host has to implement to bring its own engine.
#pragma once

#include <glint/core/level.hpp>
#include <glint/fwd.hpp>
#include <glint/model/text_tokens.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace glint {

enum class Parameterization;

/// Adapter (LoRA) scales by name; 0 or absent = off. Scales may be negative, and adapters add up.
using Adapters = std::map<std::string, double>;

/// What a model is and can do; constant for its lifetime.
struct ModelInfo {
  std::string name = {};
  Parameterization parameterization = {};
  NoiseKind noise_kind = NoiseKind::VariancePreserving;
  std::vector<int64_t> latent_shape = {};  ///< without the batch dimension; -1 = any size
  bool uncond_branch = true;       ///< has an unconditional branch, so classifier-free guidance applies
  bool embedded_guidance = false;  ///< takes the guidance scale as an input (guidance-distilled)
  std::string device = "cpu";      ///< where latents and conditionings must live: cpu | cuda | cuda:N
  bool gradients = false;          ///< outputs are differentiable with respect to x
  std::vector<std::string> adapters = {};  ///< valid keys for `Adapters`
  int64_t attention_layers = 0;            ///< number of layers an AttentionPolicy controls
  bool text_apart = false;  ///< a negative prompt of normalized attention guidance costs no row
  TextTokens text_tokens = TextTokens::Unknown;  ///< Unknown = normalized attention guidance cannot apply
};

/// One batched evaluation of the same latents under several conditionings ("branches").
struct ModelInput {
  const at::Tensor& x;  ///< [B,C,H,W] or [B,C,F,H,W], the sampler's dtype (float32 or float64)
  const Level& level;   ///< the noise level the network is conditioned on
  std::span<const Conditioning* const> branches;  ///< never empty; outputs follow this order
  const Adapters& adapters;
  std::optional<double> embedded_guidance = {};    ///< set only if info().embedded_guidance
  const AttentionPolicy* attention = nullptr;      ///< this step's policy; null = dense
  const NormalizedGuidance* normalized = nullptr;  ///< set only if info().text_tokens is known
  /// With `normalized`: each branch's negative prompt, null for branches without.
  std::span<const Conditioning* const> negatives = {};
};

/// A denoising network.
/// Thread: `predict` may be called concurrently; implementations that are not thread-safe must lock.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;

  /// Returns the raw network output for each branch, in x's shape and dtype.
  /// Cost:    B rows per branch and per negative prompt through the network, in one batch if memory allows.
  /// Errors:  ShapeMismatch, UnsupportedDtype if x does not match info(); Internal for engine failures.
  virtual std::vector<at::Tensor> predict(const ModelInput& input) const = 0;
};

}  // namespace glint
