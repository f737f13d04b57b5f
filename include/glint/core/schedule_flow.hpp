// Grids of flow models: sigma from 1 to 0, shifted towards the noisy end to suit the resolution.
#pragma once

#include <glint/core/schedule_vp.hpp>

namespace glint {

/// Returns sigma under a static shift s: s sigma / (1 + (s - 1) sigma). A dynamic shift has s = e^mu.
/// Source: Esser et al., SD3, arXiv:2403.03206, Eq. 23.
template <typename Real>
Real shift_sigma(Real sigma, double shift) {
  return static_cast<Real>(shift) * sigma / (1 + static_cast<Real>(shift - 1.0) * sigma);
}

namespace detail {

/// A flow model's shift for one run. Model times are compared to the last bit, so each form is computed as
/// diffusers computes it, in the precision of the sigmas it starts from.
class Shift {
 public:
  /// Takes the run's own shift if set, else the model's.
  /// Errors: InvalidArgument if the run's steps or options, or the model's shifts, are out of range.
  Shift(const FlowTraining& training, const GridOptions& grid) : terminal_(training.shift_terminal) {
    GLINT_CHECK(grid.steps >= 1 && grid.steps <= training.train_steps, InvalidArgument,
                "steps: expected 1 to {}, got {}", training.train_steps, grid.steps);
    check_ranges("schedule", grid);
    GLINT_CHECK(training.shift > 0.0, InvalidArgument, "shift: expected > 0, got {}", training.shift);
    GLINT_CHECK(!terminal_ || (*terminal_ >= 0.0 && *terminal_ < 1.0), InvalidArgument,
                "shift_terminal: expected a sigma in [0, 1), got {}", terminal_.value_or(0.0));
    factor_ = grid.shift.value_or(training.shift);
    if (grid.shift || !training.dynamic) return;
    GLINT_CHECK(grid.tokens > 0.0, InvalidArgument,
                "tokens: a model with a dynamic shift needs the number of image tokens, got {}", grid.tokens);
    const double mu = training.dynamic->mu(grid.tokens);
    dynamic_ = true;
    factor_ = training.dynamic->form == TimeShift::Exponential ? std::exp(mu) : mu;
    GLINT_CHECK(factor_ > 0.0, InvalidArgument,
                "shift: a linear dynamic shift needs mu > 0, but {} tokens have mu {}", grid.tokens, mu);
  }

  bool dynamic() const { return dynamic_; }

  template <typename Real>
  Real fixed(Real sigma) const {
    return shift_sigma(sigma, factor_);
  }
  template <typename Real>
  Real operator()(Real sigma) const {
    if (!dynamic_) return fixed(sigma);
    const Real factor = static_cast<Real>(factor_);
    return factor / (factor + (1 / sigma - 1));
  }

  /// Stretches the sigmas to end at shift_terminal.
  template <typename Real>
  void stretch(std::vector<Real>& sigmas) const {
    if (!terminal_ || *terminal_ == 0.0 || sigmas.back() == 1) return;
    const Real scale = (1 - sigmas.back()) / static_cast<Real>(1.0 - *terminal_);
    for (Real& sigma : sigmas) sigma = 1 - (1 - sigma) / scale;
  }

 private:
  std::optional<double> terminal_;
  double factor_ = 1.0;
  bool dynamic_ = false;
};

/// Returns the n first of `points` shifted sigmas from `high` towards `low`, held as Real throughout.
template <typename Real>
std::vector<double> shifted_sigmas(const Shift& shift, double high, double low, int points, int n) {
  std::vector<Real> sigmas;
  for (int i = 0; i < n; ++i) sigmas.push_back(shift(static_cast<Real>(linspace(high, low, points, i))));
  shift.stretch(sigmas);
  return {sigmas.begin(), sigmas.end()};
}

inline double as_float(double value) { return static_cast<double>(static_cast<float>(value)); }

/// Returns a flow's level. The references hold sigma in float32.
inline Level flow_level(double time, double sigma) { return {time, 1.0 - as_float(sigma), as_float(sigma)}; }

inline NoiseSchedule flow_levels(const FlowTraining& training, std::vector<Level> levels) {
  levels.push_back({});
  return {NoiseKind::Flow, std::move(levels), static_cast<double>(training.train_steps)};
}

}  // namespace detail

/// Returns the grid of diffusers' flow Euler scheduler; sigma = 1 - alpha, model_time = train_steps * sigma
/// in float32.
/// Errors: InvalidArgument if steps is outside [1, train_steps] or an option is out of range.
/// Source: diffusers 0.42 FlowMatchEulerDiscreteScheduler; FLUX's dynamic shift.
inline NoiseSchedule flow_schedule(const FlowTraining& training, const GridOptions& grid) {
  const detail::Shift shift(training, grid);
  const int n = grid.steps, steps = training.train_steps;
  std::vector<double> sigmas;
  if (training.spacing == FlowSpacing::PerStep) {  // pipelines that pass sigmas from 1 to 1/N themselves
    sigmas = detail::shifted_sigmas<float>(shift, 1.0, 1.0 / n, n, n);
  } else {  // from the training's first timestep to its last, which a static shift moves twice
    const auto end = [&](float sigma) {
      return static_cast<double>(shift.dynamic() ? sigma : shift.fixed(sigma)) * steps;
    };
    const double high = end(1.0f), low = end(1.0f / static_cast<float>(steps));
    std::vector<double> unshifted;
    for (int i = 0; i < n; ++i) unshifted.push_back(detail::linspace(high, low, n, i) / steps);
    for (double sigma : unshifted) sigmas.push_back(shift(sigma));
    shift.stretch(sigmas);
  }
  if (grid.sigmas != Sigmas::Model) sigmas = detail::spread(grid, sigmas.front(), sigmas.back());
  std::vector<Level> levels;
  for (double sigma : sigmas) {
    const float time = static_cast<float>(sigma) * static_cast<float>(steps);
    levels.push_back(detail::flow_level(static_cast<double>(time), sigma));
  }
  return detail::flow_levels(training, std::move(levels));
}

/// Returns the grid of diffusers' DPM-Solver++ scheduler with flow sigmas: N of N + 1 points from
/// 1 - 1/train_steps to 0; model times are whole.
/// Errors: as flow_schedule; InvalidArgument for sigmas other than the model's.
inline NoiseSchedule flow_multistep_schedule(const FlowTraining& training, const GridOptions& grid) {
  const detail::Shift shift(training, grid);
  GLINT_CHECK(grid.sigmas == Sigmas::Model, InvalidArgument,
              "sigmas: {} does not apply to a multistep solver on a flow model; use flow-euler",
              enum_name(grid.sigmas));
  GLINT_CHECK(!training.shift_terminal, InvalidArgument,
              "shift_terminal: does not apply to DPM-Solver++'s grid; use flow-euler or unipc");
  const int n = grid.steps, steps = training.train_steps;
  std::vector<Level> levels;
  for (int i = 0; i < n; ++i) {
    const double alpha = detail::linspace(1.0, 1.0 / steps, n + 1, n - i), sigma = shift.fixed(1.0 - alpha);
    levels.push_back(detail::flow_level(std::floor(sigma * steps), sigma));
  }
  return detail::flow_levels(training, std::move(levels));
}

/// Returns the grid of diffusers' UniPC scheduler with flow sigmas: N of N + 1 points from 1 to
/// 1/train_steps, or Karras' levels; model times are whole.
/// Errors: as flow_schedule; InvalidArgument for sigmas other than the model's and Karras'.
inline NoiseSchedule flow_unipc_schedule(const FlowTraining& training, const GridOptions& grid) {
  const detail::Shift shift(training, grid);
  const int n = grid.steps, steps = training.train_steps;
  std::vector<double> sigmas;
  if (grid.sigmas == Sigmas::Karras) {
    GLINT_CHECK(grid.sigma_min && grid.sigma_max, InvalidArgument,
                "sigmas: karras needs sigma_min and sigma_max for unipc on a flow model");
    for (double ratio : detail::spread(grid, 0.0, 0.0)) sigmas.push_back(ratio / (ratio + 1.0));
  } else {
    GLINT_CHECK(grid.sigmas == Sigmas::Model, InvalidArgument,
                "sigmas: {} does not apply to unipc on a flow model; use flow-euler", enum_name(grid.sigmas));
    sigmas = detail::shifted_sigmas<double>(shift, 1.0, 1.0 / steps, n + 1, n);
    // Like the reference, step off sigma = 1, where log(alpha) is infinite.
    if (std::abs(sigmas.front() - 1.0) < 1e-6) sigmas.front() -= 1e-6;
  }
  std::vector<Level> levels;
  for (double sigma : sigmas) levels.push_back(detail::flow_level(std::floor(sigma * steps), sigma));
  return detail::flow_levels(training, std::move(levels));
}

}  // namespace glint
