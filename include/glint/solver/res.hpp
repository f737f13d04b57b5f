// RES, the refined exponential solver: a single-step method of two stages and a multistep one, order 2.
#pragma once

#include <glint/solver/log_snr.hpp>

namespace glint {

/// With h the step in log-SNR, m the x0 estimate at x and m_c that half way, reached by the first stage:
///   x' = (sigma'/sigma) x + alpha' h ((phi_1(-h) - 2 phi_2(-h)) m + 2 phi_2(-h) m_c).
/// Jumps to x0 where the grid ends at sigma = 0.
/// Cost:    2 N - 1 predictions; 2 N if the grid ends above sigma = 0.
/// Source:  Zhang et al., "Improved Order Analysis and Design of Exponential Integrator for Diffusion Models
///          Sampling", arXiv:2308.02157, Eq. 9 with c_2 = 1/2.
class Res2s final : public OnLogSnrGrid {
 public:
  using Options = NoOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "res-2s",
                                  .summary = "refined exponential solver, order 2, two predictions a step",
                                  .cost = "2 N - 1 predictions",
                                  .source = "Zhang et al. 2023, arXiv:2308.02157"};

  explicit Res2s(NoOptions = {}) {}

  at::Tensor step(const SolverStep& s, SolverHistory&, NoiseStream& noise) const override {
    if (s.to().sigma == 0.0) return first_order_step(s, 0.0, noise);
    const double h = detail::log_snr_step(s);
    const Level middle = s.schedule.at_ratio(s.from().ratio() * std::exp(-h / 2.0));
    const at::Tensor m = s.denoised();
    const at::Tensor x = s.x.mul(middle.sigma / s.from().sigma).add_(m, -middle.alpha * std::expm1(-h / 2.0));
    const at::Tensor late = denoised_from(s.parameterization, middle)(x, s.evaluate(x, middle));
    const double b2 = 2.0 * detail::phi2(-h), b1 = detail::phi1(-h) - b2;
    return s.x.mul(s.to().sigma / s.from().sigma)
        .add_(m, s.to().alpha * h * b1)
        .add_(late, s.to().alpha * h * b2);
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    check_log_snr(info.name, schedule);
  }
};

/// With h the step in log-SNR, h_1 the one before, m and m_1 their x0 estimates:
///   x' = (sigma'/sigma) x + alpha' h ((phi_1(-h) + (h/h_1) phi_2(-h)) m - (h/h_1) phi_2(-h) m_1).
/// First order at the start; jumps to x0 where the grid ends at sigma = 0.
/// Source:  Zhang et al., arXiv:2308.02157, Sec. 4, multistep.
class ResMultistep final : public OnLogSnrGrid {
 public:
  using Options = NoOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "res-multistep",
                                  .summary = "refined exponential solver, order 2, multistep",
                                  .cost = "N predictions",
                                  .source = "Zhang et al. 2023, arXiv:2308.02157"};

  explicit ResMultistep(NoOptions = {}) {}

  at::Tensor step(const SolverStep& s, SolverHistory& history, NoiseStream& noise) const override {
    const at::Tensor m = s.denoised();
    const at::Tensor before = std::exchange(history.denoised, m);
    if (s.to().sigma == 0.0) return first_order_step(s, 0.0, noise);
    const double h = detail::log_snr_step(s);
    double older = 0.0;
    if (before.defined())
      older = -detail::phi2(-h) * h / detail::log_snr_between(s.schedule, s.index, s.index - 1);
    at::Tensor x =
        s.x.mul(s.to().sigma / s.from().sigma).add_(m, s.to().alpha * h * (detail::phi1(-h) - older));
    return before.defined() ? x.add_(before, s.to().alpha * h * older) : x;
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    check_log_snr(info.name, schedule);
  }
};

}  // namespace glint
