// Multistep sampling for latent consistency models (LCM).
#pragma once

#include <glint/solver/first_order.hpp>

namespace glint {

/// Jumps to the consistency function's x0 estimate and renoises it to the next level, except at the end:
///   x' = alpha' (c_out x0 + c_skip x) + sigma' z.
/// c_skip = d^2 / ((10 t)^2 + d^2), c_out = 10 t / sqrt((10 t)^2 + d^2), d = 0.5, t the timestep. Flow models
/// have no boundary scalings: c_skip = 0, c_out = 1.
/// Source:  Luo et al., "Latent Consistency Models", arXiv:2310.04378, Alg. 3.
class Lcm final : public Solver {
 public:
  using Options = NoOptions;
  static constexpr EntryInfo info{
      .kind = "solver",
      .name = "lcm",
      .summary = "multistep consistency sampling in 1 to 8 steps, for distilled models",
      .cost = "N predictions",
      .source = "Luo et al. 2023, arXiv:2310.04378, Alg. 3"};

  explicit Lcm(NoOptions = {}) {}

  at::Tensor step(const SolverStep& s, SolverHistory&, NoiseStream& noise) const override {
    Affine denoised = denoised_from(s.parameterization, s.from());
    if (s.schedule.kind() == NoiseKind::VariancePreserving) {
      constexpr double kData = 0.5, kTimeScale = 10.0;
      const double t = kTimeScale * s.from().model_time, norm = t * t + kData * kData;
      denoised = (t / std::sqrt(norm)) * denoised + Affine{.of_x = kData * kData / norm};
    }
    const bool last = s.index == s.schedule.steps() - 1;
    at::Tensor x = ((last ? 1.0 : s.to().alpha) * denoised)(s.x, s.output);
    if (!last) x.add_(noise.normal_like(x), s.to().sigma);
    return x;
  }

  /// Picks N of the 50 timesteps that consistency distillation trains on.
  NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const override {
    constexpr int kOriginSteps = 50;
    detail::check_grid(training, grid);
    GLINT_CHECK(grid.sigmas.is(Sigmas::Model), InvalidArgument,
                "sigmas: solver lcm takes the levels its models were distilled on, got {}",
                grid.sigmas.text());
    const detail::TrainingTable table(alpha_bars(training));
    GLINT_CHECK(grid.steps <= kOriginSteps, InvalidArgument, "steps: solver lcm takes at most {}, got {}",
                kOriginSteps, grid.steps);
    std::vector<Level> levels;
    for (int i = 0; i < grid.steps; ++i) {
      const int index = static_cast<int>(std::floor(i * (static_cast<double>(kOriginSteps) / grid.steps)));
      levels.push_back(table.level((kOriginSteps - index) * (training.train_steps / kOriginSteps) - 1));
    }
    levels.push_back({});
    return {NoiseKind::VariancePreserving, std::move(levels), static_cast<double>(training.train_steps)};
  }
  NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const override {
    return flow_schedule(training, grid);
  }
};

}  // namespace glint
