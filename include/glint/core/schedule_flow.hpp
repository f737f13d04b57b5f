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
  /// Errors: InvalidArgument if the run's steps, options or own levels, or the model's shifts, are out of
  ///         range.
  Shift(const FlowTraining& training, const GridOptions& grid) : terminal_(training.shift_terminal) {
    GLINT_CHECK(grid.steps >= 1 && grid.steps <= training.train_steps, InvalidArgument,
                "steps: expected 1 to {}, got {}", training.train_steps, grid.steps);
    check_ranges("schedule", grid);
    check_ends(grid);
    check_own_levels(grid, 1.0, "sigma");
    GLINT_CHECK(!grid.sigmas.own.empty() || grid.sigmas.named < Sigmas::AysSd, InvalidArgument,
                "sigmas: {} is a table of a variance-preserving model and does not apply to a flow",
                grid.sigmas.text());
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

/// Whether a network gets the time of a flow's level as it is, in float32, or rounded down to a whole number.
enum class FlowTimes { Exact, Whole };

/// Returns the levels of the sigmas, which the references hold in float32, and the terminal one.
inline NoiseSchedule flow_levels(const FlowTraining& training, const std::vector<double>& sigmas,
                                 FlowTimes times = FlowTimes::Exact) {
  std::vector<Level> levels;
  for (double sigma : sigmas) {
    const float exact = static_cast<float>(sigma) * static_cast<float>(training.train_steps);
    const double time =
        times == FlowTimes::Exact ? static_cast<double>(exact) : std::floor(sigma * training.train_steps);
    levels.push_back({time, 1.0 - as_float(sigma), as_float(sigma)});
  }
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
  if (!grid.sigmas.is(Sigmas::Model)) sigmas = detail::spread(grid, sigmas.front(), sigmas.back());
  return detail::flow_levels(training, sigmas);
}

/// Returns the grid of diffusers' DPM-Solver++ scheduler with flow sigmas: N of N + 1 points from
/// 1 - 1/train_steps, where log-SNR is finite, to 0, or the run's own levels. The scheduler's model times are
/// whole.
/// Errors: as flow_schedule; InvalidArgument for sigmas other than the model's.
inline NoiseSchedule flow_multistep_schedule(const FlowTraining& training, const GridOptions& grid,
                                             detail::FlowTimes times = detail::FlowTimes::Whole) {
  const detail::Shift shift(training, grid);
  if (!grid.sigmas.own.empty()) return detail::flow_levels(training, grid.sigmas.own, times);
  GLINT_CHECK(grid.sigmas.is(Sigmas::Model), InvalidArgument,
              "sigmas: {} does not apply to a multistep solver on a flow model; use flow-euler",
              grid.sigmas.text());
  const int n = grid.steps, steps = training.train_steps;
  std::vector<double> sigmas;
  for (int i = 0; i < n; ++i)
    sigmas.push_back(shift.fixed(1.0 - detail::linspace(1.0, 1.0 / steps, n + 1, n - i)));
  shift.stretch(sigmas);
  return detail::flow_levels(training, sigmas, times);
}

/// Returns the grid of diffusers' UniPC scheduler with flow sigmas: N of N + 1 points from 1 to
/// 1/train_steps, Karras' levels or the run's own; model times are whole.
/// Errors: as flow_schedule; InvalidArgument for sigmas other than the model's and Karras'.
inline NoiseSchedule flow_unipc_schedule(const FlowTraining& training, const GridOptions& grid) {
  const detail::Shift shift(training, grid);
  const int n = grid.steps, steps = training.train_steps;
  std::vector<double> sigmas;
  if (!grid.sigmas.own.empty()) {
    sigmas = grid.sigmas.own;
  } else if (grid.sigmas.is(Sigmas::Karras)) {
    GLINT_CHECK(grid.sigma_min && grid.sigma_max, InvalidArgument,
                "sigmas: karras needs sigma_min and sigma_max for unipc on a flow model");
    for (double ratio : detail::spread(grid, 0.0, 0.0)) sigmas.push_back(ratio / (ratio + 1.0));
  } else {
    GLINT_CHECK(grid.sigmas.is(Sigmas::Model), InvalidArgument,
                "sigmas: {} does not apply to unipc on a flow model; use flow-euler", grid.sigmas.text());
    sigmas = detail::shifted_sigmas<double>(shift, 1.0, 1.0 / steps, n + 1, n);
  }
  // Like the reference, step off sigma = 1, where log(alpha) is infinite.
  if (std::abs(sigmas.front() - 1.0) < 1e-6) sigmas.front() -= 1e-6;
  return detail::flow_levels(training, sigmas, detail::FlowTimes::Whole);
}

}  // namespace glint
