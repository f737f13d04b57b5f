// The only seam a host must fill to bring its own engine: one evaluation of a denoising network.
#pragma once

#include <glint/core/level.hpp>
#include <glint/fwd.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace glint {

enum class Parameterization;

/// Adapter (LoRA) scales by name. 0 or absent is the base model; scales may be negative and add up.
using Adapters = std::map<std::string, double>;

/// What a model is and can do. Fixed for the model's lifetime.
struct ModelInfo {
  std::string name = {};
  Parameterization parameterization = {};
  NoiseKind noise_kind = NoiseKind::VariancePreserving;
  std::vector<int64_t> latent_shape = {};  ///< without the batch dimension; -1 where any size is accepted
  bool uncond_branch = true;       ///< can be conditioned on nothing, so classifier-free guidance applies
  bool embedded_guidance = false;  ///< takes the guidance scale as an input (guidance-distilled)
  std::string device = "cpu";      ///< where latents and conditionings have to be: cpu | cuda | cuda:N
  bool gradients = false;          ///< outputs are differentiable with respect to x
  std::vector<std::string> adapters = {};  ///< names `Adapters` may use
  int64_t attention_layers = 0;            ///< attention layers an AttentionPolicy decides on
};

/// One batched evaluation: the same latents under several conditionings ("branches").
struct ModelInput {
  const at::Tensor& x;  ///< [B,C,H,W] or [B,C,F,H,W], the sampler's dtype (float32 or float64)
  const Level& level;   ///< the noise level the network is told
  std::span<const Conditioning* const>
      branches;  ///< one output is returned for each, in this order; never empty
  const Adapters& adapters;
  std::optional<double> embedded_guidance = {};  ///< set only if info().embedded_guidance
  const AttentionPolicy* attention = nullptr;    ///< of this step; null is dense
};

/// A denoising network.
/// Thread: `predict` may be called concurrently; implementations that cannot must lock.
class Model {
 public:
  virtual ~Model() = default;

  /// Returns what the model is and can do.
  virtual const ModelInfo& info() const = 0;

  /// Returns the raw network output for each branch, in x's shape and dtype.
  /// Cost:    B * branches.size() rows through the network, one batch where memory allows.
  /// Errors:  ShapeMismatch, UnsupportedDtype if x does not fit info(); whatever the engine reports as
  ///          Internal.
  virtual std::vector<at::Tensor> predict(const ModelInput& input) const = 0;
};

}  // namespace glint
