// The light core: your own denoiser, glint's sampling, no libtorch. Here the denoiser is the exact one of
// data around (1, -0.5), written as a function of plain arrays, as any engine's would be.
#include <glint/core.hpp>

#include <cstdio>

namespace {

/// velocity = E[eps - x0 | x] for x0 ~ N(mean, 0.2^2), at x = (1 - sigma) x0 + sigma eps.
void run_engine(const float* x, float* velocity, int64_t count, double sigma) {
  const double mean[] = {1.0, -0.5}, alpha = 1.0 - sigma, data = 0.2 * 0.2;
  const double of_x = alpha * alpha * data + sigma * sigma;
  for (int64_t i = 0; i < count; ++i) {
    const double residual = (x[i] - alpha * mean[i % 2]) / of_x;
    velocity[i] = static_cast<float>(sigma * residual - (mean[i % 2] + alpha * data * residual));
  }
}

}  // namespace

int main() {
  const auto model = std::make_shared<glint::CallableModel>(
      glint::ModelInfo{.name = "engine",
                       .parameterization = glint::Parameterization::Velocity,
                       .noise_kind = glint::NoiseKind::Flow,
                       .latent_shape = {2}},
      [](const glint::ModelInput& in) {
        std::vector<glint::Tensor> outputs;
        for (size_t b = 0; b < in.branches.size(); ++b) {
          outputs.push_back(glint::at::empty_like(in.x));
          run_engine(in.x.data_ptr<float>(), outputs.back().data_ptr<float>(), in.x.numel(), in.level.sigma);
        }
        return outputs;
      });

  const glint::Sampler sampler(
      {.predictor = glint::Predictor{.model = model, .rule = glint::builtins().rule({.name = "cfg"})},
       .schedule = glint::flow_schedule({}, {.steps = 20}),
       .solver = glint::builtins().solver({.name = "unipc"}),
       .step_methods = {glint::builtins().step({.name = "z-sampling"})}});
  const glint::SampleResult result = sampler.sample({.seed = 1, .batch = 1000});
  const glint::Tensor mean = result.latents.mean(0);
  std::printf("mean (%.3f, %.3f), %g rows per sample\n", mean[0].item<double>(), mean[1].item<double>(),
              result.nfe());
}
