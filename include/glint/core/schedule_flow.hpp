// Grids of flow models: sigma from 1 to 0, shifted towards the noisy end as the resolution asks.
#pragma once

#include <glint/core/schedule_vp.hpp>

namespace glint {

/// Returns sigma moved by a static shift s: s sigma / (1 + (s - 1) sigma). The exponential dynamic shift is s = e^mu.
/// Source: Esser et al., SD3, arXiv:2403.03206, Eq. 23.
inline double shift_sigma(double sigma, double shift) {
  return shift * sigma / (1.0 + (shift - 1.0) * sigma);
}

/// Returns the levels a run of `grid.steps` steps takes through a flow model, where diffusers' solver of that
/// convention would place them; sigma = 1 - alpha, model_time = train_steps sigma.
/// Errors: InvalidArgument if steps is not in [1, train_steps], or an option does not apply to flow models.
/// Source: diffusers 0.42 FlowMatchEuler, DPMSolverMultistep and UniPC with flow sigmas; FLUX's dynamic shift.
inline NoiseSchedule flow_schedule(const FlowTraining& training, const GridOptions& grid,
                                   GridConvention convention) {
  const int n = grid.steps, train_steps = training.train_steps;
  GLINT_CHECK(n >= 1 && n <= train_steps, InvalidArgument, "steps: expected 1 to {}, got {}", train_steps, n);
  check_ranges("schedule", grid);
  GLINT_CHECK(training.shift > 0.0, InvalidArgument, "shift: expected > 0, got {}", training.shift);
  GLINT_CHECK(!training.shift_terminal || (*training.shift_terminal >= 0.0 && *training.shift_terminal < 1.0),
              InvalidArgument, "shift_terminal: expected a sigma in [0, 1), got {}",
              training.shift_terminal.value_or(0.0));
  GLINT_CHECK(!training.dynamic || grid.shift || grid.tokens > 0.0, InvalidArgument,
              "tokens: a model with a dynamic shift needs the number of image tokens, got {}", grid.tokens);
  const double shift = grid.shift         ? *grid.shift
                       : training.dynamic ? std::exp(training.dynamic->mu(grid.tokens))
                                          : training.shift;
  const bool multistep = convention == GridConvention::Multistep || convention == GridConvention::UniPc;
  GLINT_CHECK(grid.sigmas == Sigmas::Model || !multistep, InvalidArgument,
              "sigmas: {} does not apply to a multistep solver on a flow model; use flow-euler",
              enum_name(grid.sigmas));

  // All end where the training grid does, but for pipelines that hand the solver 1 to 1/N themselves.
  const double least = 1.0 / train_steps;
  const double low = convention == GridConvention::Multistep    ? 0.0
                     : convention == GridConvention::UniPc      ? least
                     : training.spacing == FlowSpacing::PerStep ? 1.0 / n
                     : training.dynamic && !grid.shift          ? least
                                                                : shift_sigma(least, shift);
  const double high = convention == GridConvention::Multistep ? 1.0 - least : 1.0;
  const int gaps = multistep ? n : n - 1;
  std::vector<double> sigmas;
  for (int i = 0; i < n; ++i)
    sigmas.push_back(shift_sigma(gaps == 0 ? high : high + i * ((low - high) / gaps), shift));
  if (training.shift_terminal && sigmas.back() < 1.0) {
    const double stretch = (1.0 - sigmas.back()) / (1.0 - *training.shift_terminal);
    for (double& sigma : sigmas) sigma = 1.0 - (1.0 - sigma) / stretch;
  }
  if (grid.sigmas != Sigmas::Model)
    sigmas = detail::spread(grid.sigmas, grid.rho, sigmas.front(), sigmas.back(), n);
  // The reference steps off sigma = 1, where log(alpha) is infinite.
  if (convention == GridConvention::UniPc && sigmas.front() > 1.0 - 1e-6) sigmas.front() -= 1e-6;

  std::vector<Level> levels;
  for (double exact : sigmas) {
    const double sigma = static_cast<double>(static_cast<float>(exact));
    const double time = exact * train_steps;
    levels.push_back(
        {multistep ? std::floor(time) : static_cast<double>(static_cast<float>(time)), 1.0 - sigma, sigma});
  }
  levels.push_back({});
  return {NoiseKind::Flow, std::move(levels), static_cast<double>(train_steps)};
}

}  // namespace glint
