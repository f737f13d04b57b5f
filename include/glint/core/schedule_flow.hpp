// Grids of flow models: sigma from 1 to 0, shifted towards the noisy end to suit the resolution.
#pragma once

#include <glint/core/schedule_vp.hpp>

namespace glint {

/// Returns sigma under a static shift s: s sigma / (1 + (s - 1) sigma). A dynamic shift has s = e^mu.
/// Source: Esser et al., SD3, arXiv:2403.03206, Eq. 23.
inline double shift_sigma(double sigma, double shift) {
  return shift * sigma / (1.0 + (shift - 1.0) * sigma);
}

namespace detail {

/// Returns the run's own shift if set, else the model's.
/// Errors: InvalidArgument if the run's steps, options or own levels, or the model's shifts, are out of
///         range.
inline double checked_shift(const FlowTraining& training, const GridOptions& grid) {
  GLINT_CHECK(grid.steps >= 1 && grid.steps <= training.train_steps, InvalidArgument,
              "steps: expected 1 to {}, got {}", training.train_steps, grid.steps);
  check_ranges("schedule", grid);
  check_own_levels(grid, 1.0, "sigma");
  GLINT_CHECK(!grid.sigmas.own.empty() || grid.sigmas.named < Sigmas::AysSd, InvalidArgument,
              "sigmas: {} is a table of a variance-preserving model and does not apply to a flow",
              grid.sigmas.text());
  GLINT_CHECK(training.shift > 0.0, InvalidArgument, "shift: expected > 0, got {}", training.shift);
  GLINT_CHECK(!training.shift_terminal || (*training.shift_terminal >= 0.0 && *training.shift_terminal < 1.0),
              InvalidArgument, "shift_terminal: expected a sigma in [0, 1), got {}",
              training.shift_terminal.value_or(0.0));
  if (grid.shift) return *grid.shift;
  if (!training.dynamic) return training.shift;
  GLINT_CHECK(grid.tokens > 0.0, InvalidArgument,
              "tokens: a model with a dynamic shift needs the number of image tokens, got {}", grid.tokens);
  return std::exp(training.dynamic->mu(grid.tokens));
}

/// Returns n sigmas from `high` down, spaced so that `gaps` steps would reach `low`; shifted, then stretched.
inline std::vector<double> flow_sigmas(const FlowTraining& training, int n, double shift, double high,
                                       double low, int gaps) {
  std::vector<double> sigmas;
  for (int i = 0; i < n; ++i)
    sigmas.push_back(shift_sigma(gaps == 0 ? high : high + i * ((low - high) / gaps), shift));
  if (training.shift_terminal && sigmas.back() < 1.0) {
    const double stretch = (1.0 - sigmas.back()) / (1.0 - *training.shift_terminal);
    for (double& sigma : sigmas) sigma = 1.0 - (1.0 - sigma) / stretch;
  }
  return sigmas;
}

/// Returns levels at the sigmas plus the terminal one. The model time is train_steps * sigma, rounded to
/// float32 or floored to a whole number.
inline NoiseSchedule sigma_schedule(const FlowTraining& training, const std::vector<double>& sigmas,
                                    bool whole_times) {
  std::vector<Level> levels;
  for (double exact : sigmas) {
    const double sigma = static_cast<double>(static_cast<float>(exact));
    const double time = exact * training.train_steps;
    levels.push_back(
        {whole_times ? std::floor(time) : static_cast<double>(static_cast<float>(time)), 1.0 - sigma, sigma});
  }
  levels.push_back({});
  return {NoiseKind::Flow, std::move(levels), static_cast<double>(training.train_steps)};
}

}  // namespace detail

/// Returns the grid of diffusers' flow Euler scheduler; sigma = 1 - alpha, model_time = train_steps * sigma.
/// Errors: InvalidArgument if steps is outside [1, train_steps] or an option is out of range.
/// Source: diffusers 0.42 FlowMatchEulerDiscreteScheduler; FLUX's dynamic shift.
inline NoiseSchedule flow_schedule(const FlowTraining& training, const GridOptions& grid) {
  const double shift = detail::checked_shift(training, grid);
  // The grid ends where training did, except for pipelines that pass sigmas from 1 to 1/N themselves.
  const double least = 1.0 / training.train_steps;
  const double low = training.spacing == FlowSpacing::PerStep ? 1.0 / grid.steps
                     : training.dynamic && !grid.shift        ? least
                                                              : shift_sigma(least, shift);
  std::vector<double> sigmas = detail::flow_sigmas(training, grid.steps, shift, 1.0, low, grid.steps - 1);
  if (!grid.sigmas.is(Sigmas::Model)) sigmas = detail::spread(grid, sigmas.front(), sigmas.back());
  return detail::sigma_schedule(training, sigmas, false);
}

}  // namespace glint
