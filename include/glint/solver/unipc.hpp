// UniPC: a second-order predictor with a corrector that costs no extra prediction.
#pragma once

#include <glint/solver/dpmpp_2m.hpp>

namespace glint {

/// UniPC-2 with B(h) = e^h - 1 ("bh2"), on x0 estimates. Each step first corrects its incoming latents with
/// the prediction made at them, then predicts the next ones. Orders are 1, 2, ..., 2, 1. With lambda =
/// log(alpha/sigma), hh = -h, phi = e^hh - 1, D1 = (m1 - m0) / r, r = (lambda_1 - lambda_0) / h:
///   predict: x' = (sigma'/sigma) x - alpha' phi (m0 + D1 / 2)
///   correct: x  = (sigma/sigma_0) x_0 - alpha phi (m0 + rho_1 D1 + rho_2 (m - m0)).
/// Source:  Zhao et al., "UniPC", NeurIPS 2023, arXiv:2302.04867, Alg. 5 and 6.
class UniPc final : public Solver {
 public:
  using Options = NoOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "unipc",
                                  .summary = "UniPC-2 (bh2), order 2 with a corrector; Wan's default",
                                  .cost = "N predictions",
                                  .source = "Zhao et al. 2023, arXiv:2302.04867, Alg. 5"};

  explicit UniPc(NoOptions = {}) {}

  at::Tensor step(const SolverStep& s, SolverHistory& history, NoiseStream&) const override {
    const at::Tensor m = s.denoised();
    const at::Tensor x = history.order > 0 && history.x.defined() ? correct(s, m, history) : s.x;
    history.older_denoised = std::exchange(history.denoised, m);
    history.order = (std::min)({2, s.schedule.steps() - s.index, history.order + 1});
    history.x = x;
    return predict(s, x, history);
  }
  NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const override {
    return detail::multistep_schedule(training, grid, true);
  }
  NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const override {
    std::vector<double> sigmas = detail::multistep_sigmas(training, grid, 1.0, 1.0 / training.train_steps);
    // Like the reference, step off sigma = 1, where log(alpha) is infinite.
    if (sigmas.front() > 1.0 - 1e-6) sigmas.front() -= 1e-6;
    return detail::sigma_schedule(training, sigmas, true);
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    detail::check_multistep(info.name, schedule);
  }

 private:
  /// Returns r: the previous interval in units of this one, negative because it lies behind. 1/r
  /// is 0 for an infinite one.
  static double behind(const NoiseSchedule& g, int index, double h) {
    return (g.level(index - 1).lambda() - g.level(index).lambda()) / h;
  }

  static at::Tensor predict(const SolverStep& s, const at::Tensor& x, const SolverHistory& history) {
    const double h = s.to().lambda() - s.from().lambda();
    const double to_x0 = -s.to().alpha * std::expm1(-h);
    at::Tensor next = x.mul(s.to().sigma / s.from().sigma);
    if (history.order == 1) return next.add_(history.denoised, to_x0);
    const double slope = 0.5 / behind(s.schedule, s.index, h);
    return next.add_(history.denoised, to_x0 * (1.0 - slope)).add_(history.older_denoised, to_x0 * slope);
  }

  static at::Tensor correct(const SolverStep& s, const at::Tensor& m, const SolverHistory& history) {
    const Level &start = s.schedule.level(s.index - 1), &here = s.from();
    const double h = here.lambda() - start.lambda();
    const double phi = std::expm1(-h);
    const double to_x0 = -here.alpha * phi;
    double of_older = 0.0, of_new = 0.5;
    if (history.order == 2) {
      const double r = behind(s.schedule, s.index - 1, h);
      const double hh = -h, b1 = (phi / hh - 1.0) / phi, b2 = 2.0 * ((phi / hh - 1.0) / hh - 0.5) / phi;
      const double rho1 = std::isinf(r) ? 0.0 : (b1 - b2) / (1.0 - r);
      of_older = std::isinf(r) ? 0.0 : rho1 / r;
      of_new = b1 - rho1;
    }
    at::Tensor x = history.x.mul(here.sigma / start.sigma);
    x.add_(history.denoised, to_x0 * (1.0 - of_older - of_new)).add_(m, to_x0 * of_new);
    return of_older == 0.0 ? x : x.add_(history.older_denoised, to_x0 * of_older);
  }
};

}  // namespace glint
