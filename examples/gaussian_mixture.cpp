// Samples a three-component Gaussian mixture with its exact denoiser, plain and with Z-Sampling. No weights,
// no files.
#include <glint/glint.hpp>

#include <fmt/core.h>

#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

int main() {
  const auto model = std::make_shared<glint::GaussianMixtureModel>(
      glint::GaussianMixture{
          .means = at::tensor({2.0, 0.0, -1.0, 1.5, -1.0, -1.5}, at::kDouble).reshape({3, 2, 1}),
          .variances = at::full({3}, 0.15, at::kDouble),
          .weights = at::ones({3}, at::kDouble)},
      glint::Parameterization::Velocity, glint::NoiseKind::Flow);
  const glint::Prompt prompt{.cond = model->condition({0}), .uncond = model->condition()};

  glint::SamplerParts parts{
      .predictor = glint::Predictor{.model = model, .rule = std::make_shared<glint::Cfg>(1.5)},
      .schedule = glint::flow_schedule({}, {.steps = 30}),
      .solver = std::make_shared<glint::FlowEuler>()};
  for (const bool reflect : {false, true}) {
    if (reflect) parts.step_methods = {glint::z_sampling({.guidance_inverse = 0.0})};
    const glint::SampleResult result =
        glint::Sampler(parts).sample({.prompt = prompt, .seed = 1, .batch = 1000});
    const at::Tensor mean = result.latents.mean(0).flatten();
    fmt::print("{:22} mean ({:.2f}, {:.2f}), {} rows per sample\n",
               reflect ? "cfg 1.5 + z-sampling" : "cfg 1.5", mean[0].item<double>(), mean[1].item<double>(),
               result.usage.rows / 1000);
  }
}
