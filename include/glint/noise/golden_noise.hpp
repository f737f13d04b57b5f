// Golden noise: one pass of a small network turns noise and prompt into better initial noise.
#pragma once

#include <glint/core/options.hpp>
#include <glint/sampling/noise_strategy.hpp>

#include <functional>
#include <utility>

namespace glint {

/// The network: maps standard normal noise [B,C,...] and the prompt to better noise of the same shape.
using NoiseNetwork = std::function<at::Tensor(const at::Tensor& noise, const Prompt& prompt)>;

struct GoldenNoiseOptions {
  double amount = 1.0;

  static void fields(auto& visit, auto& o) {
    visit("amount", o.amount,
          Field{.help = "fraction of the network's change to apply; 0 = off", .minimum = 0, .maximum = 2});
  }
};

/// Returns x + amount (network(x, prompt) - x). The network (inputs latents [B,C,...], tokens [B,L,D],
/// pooled) determines which latents and prompts fit; NPNet's released weights accept only 4 x 128 x 128
/// latents and 77 tokens. Reports the mean and standard deviation of its output, which is not
/// re-standardised.
/// Cost:    no rows; one pass of the network.
/// Errors:  NotFound if the bundle has no such component; InvalidArgument for svd_attention if it is not
///          NPNet; ShapeMismatch, naming network and sizes, where it does not fit: on construction if the
///          run's size is known, else in the run.
/// Source:  Zhou et al., "Golden Noise for Diffusion Models", ICCV 2025, arXiv:2411.09502.
class GoldenNoise final : public NoiseStrategy {
 public:
  using Options = GoldenNoiseOptions;
  static constexpr EntryInfo info{.kind = "noise",
                                  .name = "golden-noise",
                                  .summary = "a network turns noise and prompt into better noise (NPNet)",
                                  .cost = "no rows beyond the run's; one pass of the network",
                                  .source = "Zhou et al. 2025, ICCV, arXiv:2411.09502"};

  explicit GoldenNoise(NoiseNetwork network, GoldenNoiseOptions options = {})
      : network_(std::move(network)), amount_(options.amount) {
    check_ranges(info.name, options);
    GLINT_CHECK(network_, InvalidArgument, "golden-noise: expected a network, got none");
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
  NoiseNetwork network_;
  double amount_;
};

}  // namespace glint
