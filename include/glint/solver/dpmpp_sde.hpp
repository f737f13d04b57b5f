// DPM-Solver++ (SDE), a stochastic second-order method that predicts twice a step.
#pragma once

#include <glint/solver/log_snr.hpp>

namespace glint {

/// With S = sigma/alpha and m = sqrt(S S') the geometric midpoint, both stages are ancestral steps of the
/// exponential integrator from the same x, the first to m with the x0 estimate at x, the second to S' with
/// that at the midpoint:
///   x' = alpha' ((S_down/S) x/alpha + (1 - S_down/S) x0 + S_up z),  S_up = eta S' sqrt(1 - (S'/S)^2).
/// The two z are increments of one Brownian motion in S, as in k-diffusion. Jumps to x0 where the grid ends
/// at sigma = 0.
/// Cost:    2 N - 1 predictions; 2 N if the grid ends above sigma = 0.
/// Source:  Lu et al., "DPM-Solver++", arXiv:2211.01095, Alg. 1 with r = 1/2, in the SDE form of
///          k-diffusion's sample_dpmpp_sde.
class DpmppSde final : public OnLogSnrGrid {
 public:
  using Options = AncestralOptions;
  static constexpr EntryInfo info{
      .kind = "solver",
      .name = "dpmpp-sde",
      .summary = "DPM-Solver++ (SDE), two predictions a step, fresh noise in both",
      .cost = "2 N - 1 predictions",
      .source = "Lu et al. 2022, arXiv:2211.01095, Alg. 1; k-diffusion"};

  explicit DpmppSde(Options options = {}) : eta_(options.eta) { check_ranges(info.name, options); }

  at::Tensor step(const SolverStep& s, SolverHistory&, NoiseStream& noise) const override {
    if (s.to().sigma == 0.0) return first_order_step(s, 0.0, noise);
    const double from = s.from().ratio(), to = s.to().ratio(), middle = std::sqrt(from * to);
    const Level between = s.schedule.at_ratio(middle);
    const at::Tensor early = eta_ > 0.0 ? noise.normal_like(s.x) : at::Tensor();
    const at::Tensor x = stage(s, between, s.denoised(), early);
    const at::Tensor denoised = denoised_from(s.parameterization, between)(x, s.evaluate(x, between));
    at::Tensor whole;
    if (eta_ > 0.0)
      whole = early.mul(std::sqrt((from - middle) / (from - to)))
                  .add_(noise.normal_like(s.x), std::sqrt((middle - to) / (from - to)));
    return stage(s, s.to(), denoised, whole);
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    check_log_snr(info.name, schedule);
  }

 private:
  /// `z` is undefined at eta = 0.
  at::Tensor stage(const SolverStep& s, const Level& to, const at::Tensor& denoised,
                   const at::Tensor& z) const {
    const double up = ancestral_sigma(s.from(), to, eta_) / to.alpha;
    const double kept = std::sqrt(to.ratio() * to.ratio() - up * up) / s.from().ratio();
    at::Tensor x = s.x.mul(to.alpha / s.from().alpha * kept).add_(denoised, to.alpha * (1.0 - kept));
    return z.defined() ? x.add_(z, to.alpha * up) : x;
  }

  double eta_;
};

}  // namespace glint
