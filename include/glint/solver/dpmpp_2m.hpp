// DPM-Solver++ (2M), a second-order multistep solver in log-SNR, in its ODE and SDE forms.
#pragma once

#include <glint/solver/first_order.hpp>

namespace glint {

namespace detail {

inline void check_multistep(std::string_view solver, const NoiseSchedule& schedule) {
  GLINT_CHECK(schedule.strictly_falling(), InvalidArgument,
              "solver {}: expected noise to fall at every step, but two levels are equal; use fewer steps or "
              "another spacing",
              solver);
}

/// Returns the grid of diffusers' multistep solvers for a variance-preserving model: N + 1 timesteps, the
/// cleanest dropped; Karras and exponential sigmas span the whole training range. Model times are integers:
/// rounded for Karras sigmas if `rounds_karras`, truncated otherwise.
inline NoiseSchedule multistep_schedule(const VpTraining& training, const GridOptions& grid,
                                        bool rounds_karras) {
  check_grid(training, grid);
  const TrainingTable table = ratio_table(training);
  std::vector<double> times = timesteps(grid, training.train_steps, {.extra_point = true}), ratios;
  for (double time : times) ratios.push_back(table.ratio_at(time));
  if (!grid.sigmas.is(Sigmas::Model)) {
    ratios = spread_ratios(grid, table, table.ratio_max(), table.ratio_min());
    for (size_t i = 0; i < times.size(); ++i) {
      const double time = table.time_of(ratios[i]);
      times[i] = grid.sigmas.is(Sigmas::Karras) && rounds_karras ? std::nearbyint(time) : std::floor(time);
    }
  }
  return ratio_schedule(training, grid, table, times, ratios);
}

/// Returns N sigmas of a flow model from `high` towards `low`, which one more step would reach.
inline std::vector<double> multistep_sigmas(const FlowTraining& training, const GridOptions& grid,
                                            double high, double low) {
  const double shift = checked_shift(training, grid);
  if (!grid.sigmas.own.empty()) return grid.sigmas.own;
  GLINT_CHECK(grid.sigmas.is(Sigmas::Model), InvalidArgument,
              "sigmas: {} does not apply to a multistep solver on a flow model; use flow-euler",
              grid.sigmas.text());
  return flow_sigmas(training, grid.steps, shift, high, low, grid.steps);
}

/// Whether diffusers' rule drops this (last) step to first order.
inline bool first_order_at(const SolverStep& s) {
  const int n = s.schedule.steps();
  return s.index == n - 1 && (n < 15 || s.to().sigma == 0.0);
}

/// Returns h = lambda' - lambda, the step's length in log-SNR.
inline double log_snr_step(const SolverStep& s) { return s.to().lambda() - s.from().lambda(); }

/// Returns of_x x + of_x0 (m0 + (m0 - m1) / (2 r)), the second-order update of both forms, and stores m0 in
/// the history. 1 / r = h / h_prev, 0 where the previous step started at pure noise and so was infinitely
/// long.
inline at::Tensor second_order_update(const SolverStep& s, SolverHistory& history, double of_x,
                                      double of_x0) {
  const at::Tensor m0 = s.denoised();
  const at::Tensor m1 = std::exchange(history.denoised, m0);
  at::Tensor x = s.x.mul(of_x);
  if (!m1.defined() || first_order_at(s)) return x.add_(m0, of_x0);
  const double h_previous = s.from().lambda() - s.schedule.level(s.index - 1).lambda();
  const double slope = std::isinf(h_previous) ? 0.0 : 0.5 * log_snr_step(s) / h_previous;
  return x.add_(m0, of_x0 * (1.0 + slope)).add_(m1, -of_x0 * slope);
}

}  // namespace detail

/// Base of the solvers on DPM-Solver++'s grid.
class OnMultistepGrid : public Solver {
 public:
  NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const override {
    return detail::multistep_schedule(training, grid, training.betas != Betas::SquaredCosine);
  }
  NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const override {
    const double high = 1.0 - 1.0 / training.train_steps;
    return detail::sigma_schedule(training, detail::multistep_sigmas(training, grid, high, 0.0), true);
  }
};

/// With m the x0 estimates, lambda = log(alpha/sigma), h = lambda' - lambda, r = h_prev / h:
///   x' = (sigma'/sigma) x - alpha' (e^-h - 1) (m0 + (m0 - m1) / (2 r)).
/// First order (DDIM) on the first step, and on the last if it lands on sigma = 0 or the run has under 15
/// steps.
/// Source:  Lu et al., "DPM-Solver++", arXiv:2211.01095, Alg. 2 (midpoint).
class Dpmpp2m final : public OnMultistepGrid {
 public:
  using Options = NoOptions;
  static constexpr EntryInfo info{
      .kind = "solver",
      .name = "dpmpp-2m",
      .summary = "DPM-Solver++ (2M), order 2; the usual default, with sigmas=karras",
      .cost = "N predictions",
      .source = "Lu et al. 2022, arXiv:2211.01095, Alg. 2"};

  explicit Dpmpp2m(NoOptions = {}) {}

  at::Tensor step(const SolverStep& s, SolverHistory& history, NoiseStream&) const override {
    const double h = detail::log_snr_step(s);
    return detail::second_order_update(s, history, s.to().sigma / s.from().sigma,
                                       -s.to().alpha * std::expm1(-h));
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    detail::check_multistep(info.name, schedule);
  }
};

/// Dpmpp2m with the noise of the reverse SDE:
///   x' = (sigma'/sigma) e^-h x + alpha' (1 - e^-2h) (m0 + (m0 - m1) / (2 r)) + sigma' sqrt(1 - e^-2h) z.
/// Source:  Lu et al., "DPM-Solver++", arXiv:2211.01095, Sec. 5 and App. E (SDE-DPM-Solver++ 2M).
class Dpmpp2mSde final : public OnMultistepGrid {
 public:
  using Options = NoOptions;
  static constexpr EntryInfo info{
      .kind = "solver",
      .name = "dpmpp-2m-sde",
      .summary = "SDE form of DPM-Solver++ (2M); fresh noise at every step but the last",
      .cost = "N predictions",
      .source = "Lu et al. 2022, arXiv:2211.01095, Sec. 5"};

  explicit Dpmpp2mSde(NoOptions = {}) {}

  at::Tensor step(const SolverStep& s, SolverHistory& history, NoiseStream& noise) const override {
    const double h = detail::log_snr_step(s), fresh = -std::expm1(-2.0 * h);
    at::Tensor x = detail::second_order_update(s, history, s.to().sigma / s.from().sigma * std::exp(-h),
                                               s.to().alpha * fresh);
    if (s.to().sigma > 0.0) x.add_(noise.normal_like(x), s.to().sigma * std::sqrt(fresh));
    return x;
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    detail::check_multistep(info.name, schedule);
  }
};

}  // namespace glint
