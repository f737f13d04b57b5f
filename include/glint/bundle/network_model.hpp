// A bundle's denoiser as a Model: named inputs in the manifest's order, all branches in one batch.
#pragma once

#include <glint/bundle/manifest.hpp>
#include <glint/export.hpp>
#include <glint/lora/adapter.hpp>
#include <glint/model/model.hpp>
#include <glint/network/network.hpp>

#include <memory>
#include <string>
#include <vector>

namespace glint {

/// How a denoising network wants to be called.
struct NetworkInputs {
  /// Argument names in order: latents, time, tokens, pooled, mask, guidance, token_order; any other is looked
  /// up in Conditioning::extras.
  std::vector<std::string> names = {};
  TimeUnit time = TimeUnit::Timestep;
  int64_t train_steps = 1000;
  /// What floating-point inputs are cast to: float32 | float16 | bfloat16 | float64. `time` and `guidance`
  /// are at least float32, as half precision cannot tell timesteps of a fine grid apart.
  std::string dtype = "float32";
  std::string device = "cpu";
  int64_t patch = 1;  ///< latent pixels per image token, each side: what `token_order` counts in
};

/// A denoiser component behind the Model interface.
/// Shapes:  latents [R,C,H,W] or [R,C,F,H,W], time [R], tokens [R,L,D], pooled [R,P], mask [R,L], guidance
///          [R] with R = B * branches; returns views of one output tensor of the latents' shape.
/// Cost:    B * branches rows in one call of the network; one copy of x if there are several branches, none
///          if one.
/// Thread:  predict may be called concurrently.
class GLINT_API NetworkModel final : public Model {
 public:
  /// Errors:  InvalidArgument if names lack "latents" or if guidance is named but info has no embedded
  ///          guidance.
  NetworkModel(std::shared_ptr<const Network> network, ModelInfo info, NetworkInputs inputs);

  /// One with adapters, whose names take the place of info's.
  NetworkModel(AdaptedNetwork network, ModelInfo info, NetworkInputs inputs);

  const ModelInfo& info() const override { return info_; }

  /// Errors:  ShapeMismatch if x does not fit info().latent_shape, branches differ in shape, or a
  ///          conditioning has neither one row nor B; InvalidArgument for a conditioning without an input the
  ///          network takes, for adapters it does not have and for missing embedded guidance;
  ///          UnsupportedDtype for integer latents; BadModel if the network's output does not fit; Internal
  ///          with the engine's message.
  std::vector<at::Tensor> predict(const ModelInput& input) const override;

 private:
  AdaptedNetwork network_;
  ModelInfo info_;
  NetworkInputs inputs_;
};

/// Returns the ModelInfo a manifest implies; latent sizes are free, the number of channels is fixed.
GLINT_API ModelInfo model_info(const Manifest& manifest);

}  // namespace glint
