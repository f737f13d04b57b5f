// Multistep sampling for latent consistency models (LCM).
#pragma once

#include <glint/solver/first_order.hpp>

namespace glint {

struct LcmOptions {
  int origin_steps = 50;
  double time_scale = 10.0;

  static void fields(auto& visit, auto& o) {
    visit("origin_steps", o.origin_steps,
          Field{.help = "timesteps of the distillation, which a run picks from (variance-preserving models)",
                .minimum = 1,
                .maximum = 1e6});
    visit("time_scale", o.time_scale,
          Field{.help = "factor of the timestep in the boundary scalings (variance-preserving models)",
                .minimum = 0,
                .maximum = 1e6});
  }
};

/// Jumps to the consistency function's x0 estimate and renoises it to the next level, except at the end:
///   x' = alpha' (c_out x0 + c_skip x) + sigma' z.
/// c_skip = d^2 / ((k t)^2 + d^2), c_out = k t / sqrt((k t)^2 + d^2), d = 0.5, k = time_scale, t the
/// timestep. Flow models have no boundary scalings: c_skip = 0, c_out = 1.
/// Source:  Luo et al., "Latent Consistency Models", arXiv:2310.04378, Alg. 3.
class Lcm final : public Solver {
 public:
  using Options = LcmOptions;
  static constexpr EntryInfo info{
      .kind = "solver",
      .name = "lcm",
      .summary = "multistep consistency sampling in 1 to 8 steps, for distilled models",
      .cost = "N predictions",
      .source = "Luo et al. 2023, arXiv:2310.04378, Alg. 3"};

  explicit Lcm(Options options = {}) : options_(options) { check_ranges(info.name, options_); }

  at::Tensor step(const SolverStep& s, SolverHistory&, NoiseStream& noise) const override {
    Affine denoised = denoised_from(s.parameterization, s.from());
    if (s.schedule.kind() == NoiseKind::VariancePreserving) {
      constexpr double kData = 0.5;
      const double t = options_.time_scale * s.from().model_time, norm = t * t + kData * kData;
      denoised = (t / std::sqrt(norm)) * denoised + Affine{.of_x = kData * kData / norm};
    }
    const bool last = s.index == s.schedule.steps() - 1;
    at::Tensor x = ((last ? 1.0 : s.to().alpha) * denoised)(s.x, s.output);
    if (!last) x.add_(noise.normal_like(x), s.to().sigma);
    return x;
  }

  /// Picks N of the timesteps that consistency distillation trains on.
  NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const override {
    const int origin = options_.origin_steps;
    detail::check_grid(training, grid);
    GLINT_CHECK(grid.sigmas.is(Sigmas::Model), InvalidArgument,
                "sigmas: solver lcm takes the levels its models were distilled on, got {}",
                grid.sigmas.text());
    const detail::TrainingTable table(alpha_bars(training));
    GLINT_CHECK(origin <= training.train_steps, InvalidArgument,
                "lcm.origin_steps: expected at most the training's {}, got {}", training.train_steps, origin);
    GLINT_CHECK(grid.steps <= origin, InvalidArgument, "steps: solver lcm takes at most {}, got {}", origin,
                grid.steps);
    std::vector<Level> levels;
    for (int i = 0; i < grid.steps; ++i) {
      const int index = static_cast<int>(std::floor(i * (static_cast<double>(origin) / grid.steps)));
      levels.push_back(table.level((origin - index) * (training.train_steps / origin) - 1));
    }
    levels.push_back({});
    return {NoiseKind::VariancePreserving, std::move(levels), static_cast<double>(training.train_steps)};
  }
  NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const override {
    return flow_schedule(training, grid);
  }

 private:
  Options options_;
};

}  // namespace glint
