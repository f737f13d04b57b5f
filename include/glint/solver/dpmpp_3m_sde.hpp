// DPM-Solver++ (3M) in its SDE form, a third-order multistep solver in log-SNR.
#pragma once

#include <glint/solver/log_snr.hpp>

namespace glint {

struct Dpmpp3mSdeOptions {
  double eta = 1.0;
  bool legacy = false;
  static void fields(auto& visit, auto& o) {
    visit("eta", o.eta,
          Field{.help = "amount of fresh noise per step; 0 = deterministic", .minimum = 0, .maximum = 1});
    visit("legacy", o.legacy,
          Field{.help = "half the second derivative, as the released code has it, which makes the order 2"});
  }
};

/// With m_k the x0 estimates k steps back, h the step in log-SNR and g = (1 + eta) h:
///   x' = (sigma'/sigma) e^(-eta h) x + alpha' ((1 - e^-g) m_0 + p_2 d_1 - p_3 d_2)
///        + sigma' sqrt(1 - e^(-2 eta h)) z,   p_2 = (e^-g - 1) / g + 1,   p_3 = p_2 / g - 1/2,
/// d_1 and d_2 the first two derivatives of m, in steps, from the last three estimates, fewer at the start.
/// Jumps to x0 where the grid ends at sigma = 0. The released code takes a divided difference, half the
/// second derivative, for d_2: `legacy`.
/// Source:  Lu et al., "DPM-Solver++", arXiv:2211.01095, in the form of k-diffusion's sample_dpmpp_3m_sde.
class Dpmpp3mSde final : public OnLogSnrGrid {
 public:
  using Options = Dpmpp3mSdeOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "dpmpp-3m-sde",
                                  .summary = "SDE form of DPM-Solver++ (3M); eta=0 is its ODE form, order 3",
                                  .cost = "N predictions",
                                  .source = "Lu et al. 2022, arXiv:2211.01095; k-diffusion"};

  explicit Dpmpp3mSde(Options options = {}) : eta_(options.eta), share_(options.legacy ? 0.5 : 1.0) {
    check_ranges(info.name, options);
  }

  at::Tensor step(const SolverStep& s, SolverHistory& history, NoiseStream& noise) const override {
    const at::Tensor m0 = s.denoised();
    const at::Tensor m2 = std::exchange(history.older_denoised, history.denoised);
    const at::Tensor m1 = std::exchange(history.denoised, m0);
    if (s.to().sigma == 0.0) return first_order_step(s, 0.0, noise);
    const double h = detail::log_snr_step(s), g = (1.0 + eta_) * h;
    at::Tensor x =
        s.x.mul(s.to().sigma / s.from().sigma * std::exp(-eta_ * h)).add_(m0, -s.to().alpha * std::expm1(-g));
    // e^-g - 1 + g = g^2 phi2(-g).
    const double p2 = g * detail::phi2(-g), p3 = p2 / g - 0.5;
    if (m1.defined()) {
      const double r0 = detail::log_snr_between(s.schedule, s.index, s.index - 1) / h;
      const at::Tensor late = m0.sub(m1).div_(r0);
      if (m2.defined()) {
        const double r1 = detail::log_snr_between(s.schedule, s.index - 1, s.index - 2) / h;
        const at::Tensor bend = late.sub(m1.sub(m2).div_(r1));
        x.add_(late, s.to().alpha * p2).add_(bend, s.to().alpha * (p2 * r0 - 2.0 * share_ * p3) / (r0 + r1));
      } else {
        x.add_(late, s.to().alpha * p2);
      }
    }
    if (eta_ > 0.0) x.add_(noise.normal_like(x), s.to().sigma * std::sqrt(-std::expm1(-2.0 * eta_ * h)));
    return x;
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    check_log_snr(info.name, schedule);
  }

 private:
  double eta_;
  double share_;  // of the second derivative
};

}  // namespace glint
