// Adapts a bundle's denoiser to Model: named inputs in the manifest's order, all branches in one batch.
#pragma once

#include <glint/bundle/manifest.hpp>
#include <glint/export.hpp>
#include <glint/lora/adapter.hpp>
#include <glint/model/model.hpp>
#include <glint/network/network.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace glint {

/// How to call a denoising network.
struct NetworkInputs {
  /// Argument names, in order: latents, time, tokens, pooled, mask, guidance, token_order; others are looked
  /// up in Conditioning::extras.
  std::vector<std::string> names = {};
  TimeUnit time = TimeUnit::Timestep;
  int64_t train_steps = 1000;
  /// Dtype of floating-point inputs: float32 | float16 | bfloat16 | float64. `time` and `guidance` are at
  /// least float32, since half precision cannot resolve the timesteps of a fine grid.
  std::string dtype = "float32";
  std::string device = "cpu";
  int64_t patch = 1;  ///< latent pixels per image token along each side, for `token_order`
};

/// A denoiser component as a Model.
/// Shapes:  latents [R,C,H,W] or [R,C,F,H,W], time [R], tokens [R,L,D], pooled [R,P], mask [R,L], guidance
///          [R] with R = B * branches; returns views of one output tensor of the latents' shape.
/// Cost:    B rows per branch and per negative prompt in one network call, none for negative prompts if
///          info().text_apart; one copy of x unless there is a single row per sample.
/// Thread:  predict may be called concurrently.
class GLINT_API NetworkModel final : public Model {
 public:
  /// Errors:  InvalidArgument if names lack "latents", or name guidance while info has no embedded guidance.
  NetworkModel(std::shared_ptr<const Network> network, ModelInfo info, NetworkInputs inputs);

  /// Same, with adapters, whose names replace info's.
  NetworkModel(AdaptedNetwork network, ModelInfo info, NetworkInputs inputs);

  const ModelInfo& info() const override { return info_; }

  /// Errors:  ShapeMismatch if x does not fit info().latent_shape, branches differ in shape, or a
  ///          conditioning has neither one row nor B; InvalidArgument for a conditioning that lacks an input,
  ///          unknown adapters, and missing embedded guidance; UnsupportedDtype for integer latents; BadModel
  ///          if the network's output has the wrong shape; Internal with the engine's message.
  std::vector<at::Tensor> predict(const ModelInput& input) const override;

 private:
  /// Returns the place of "tokens" among the inputs.
  std::optional<size_t> token_input() const;

  AdaptedNetwork network_;
  ModelInfo info_;
  NetworkInputs inputs_;
};

/// Returns the ModelInfo implied by a manifest; latent sizes are open, the channel count is fixed.
GLINT_API ModelInfo model_info(const Manifest& manifest);

}  // namespace glint
