// Golden noise: one pass of a small network turns noise and prompt into a better initial noise.
#pragma once

#include <glint/catalog/build_context.hpp>
#include <glint/bundle/component_call.hpp>
#include <glint/sampling/noise_strategy.hpp>

#include <functional>
#include <optional>
#include <utility>

namespace glint {

/// The network: standard normal noise [B,C,...] and the prompt to better noise of the same shape.
using NoiseNetwork = std::function<at::Tensor(const at::Tensor& noise, const Prompt& prompt)>;

struct GoldenNoiseOptions {
  std::string network = "npnet";
  double amount = 1.0;
  std::optional<bool> svd_attention = std::nullopt;

  static void fields(auto& visit, auto& o) {
    visit("network", o.network, Field{.help = "component of the bundle"});
    visit("amount", o.amount,
          Field{.help = "share of the network's change that is kept; 0 is off", .minimum = 0, .maximum = 2});
    visit("svd_attention", o.svd_attention,
          Field{.help =
                    "whether NPNet's SVD branch attends; the released trainer leaves that out, the released "
                    "inference does not; unset = what the component's file says"});
  }
};

/// Returns x + amount (network(x, prompt) - x). The component (inputs latents [B,C,...], tokens [B,L,D], pooled) decides which
/// latents and prompts fit; NPNet's released weights know 4 x 128 x 128 and 77 tokens only. Reports the mean and the
/// standard deviation of what comes out, since nothing re-standardises it.
/// Cost:    no rows; one pass of the network.
/// Errors:  NotFound if the bundle has no such component; InvalidArgument for svd_attention if it is not NPNet; ShapeMismatch,
///          naming network and sizes, where it does not fit: when it is made if the run's size is known, else at the run.
/// Source:  Zhou et al., "Golden Noise for Diffusion Models", ICCV 2025, arXiv:2411.09502.
class GoldenNoise final : public NoiseStrategy {
 public:
  using Options = GoldenNoiseOptions;
  static constexpr EntryInfo info{.kind = "noise",
                                  .name = "golden-noise",
                                  .summary = "a network turns noise and prompt into better noise (NPNet)",
                                  .cost = "no rows; one pass of the network, and the run's rows",
                                  .source = "Zhou et al. 2025, ICCV, arXiv:2411.09502"};

  GoldenNoise(NoiseNetwork network, double amount) : network_(std::move(network)), amount_(amount) {
    GLINT_CHECK(network_, InvalidArgument, "golden-noise: expected a network, got none");
  }

  static std::shared_ptr<const NoiseStrategy> make(const GoldenNoiseOptions& o, const BuildContext& context) {
    check_ranges(info.name, o);
    return std::make_shared<const GoldenNoise>(network_of(o, context), o.amount);
  }

  std::string_view name() const override { return info.name; }

  at::Tensor refine(const at::Tensor& x, const NoiseContext& context) const override {
    if (amount_ == 0.0) return x;
    const double scale = context.run.schedule().initial_scale();
    const at::Tensor noise = scale == 1.0 ? x : x.div(scale);
    const at::Tensor made = network_(noise, context.run.prompt());
    GLINT_CHECK(made.sizes() == x.sizes(), ShapeMismatch,
                "golden-noise: the network makes noise {}, the run has {}", shape_string(made.sizes()),
                shape_string(x.sizes()));
    const at::Tensor golden = at::lerp(noise, made.to(x.options()), amount_);
    context.run.report("mean", golden.flatten(1).mean(1));
    context.run.report("deviation", golden.flatten(1).std(1));
    return scale == 1.0 ? golden : golden.mul(scale);
  }

 private:
  static NoiseNetwork network_of(const GoldenNoiseOptions& o, const BuildContext& context) {
    ComponentCall network(context.bundle_for(info.name), o.network, "a noise network",
                          {"latents", "tokens", "pooled"});
    // Before anything is computed, if the run's size is known.
    if (!context.latent_shape.empty()) network.check_latents(context.latent_shape);
    if (o.svd_attention) network = network.with("svd_attention", *o.svd_attention ? "true" : "false");
    return [network](const at::Tensor& noise, const Prompt& prompt) {
      try {
        return network({{"latents", noise}}, prompt);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::Cancelled || error.code() == ErrorCode::OutOfMemory) throw;
        fail(ErrorCode::ShapeMismatch,
             "golden-noise: component '{}' does not take noise {} with this model's prompt; it was made for "
             "another model or size ({})",
             network.component(), shape_string(noise.sizes()), error.what());
      }
    };
  }

  NoiseNetwork network_;
  double amount_;
};

}  // namespace glint
