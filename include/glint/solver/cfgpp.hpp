// CFG++: denoises with the guided prediction, renoises with the unconditional one.
#pragma once

#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/first_order.hpp>

namespace glint {

struct CfgPlusPlusOptions {
  int order = 1;
  double eta = 0.0;

  static void fields(auto& visit, auto& o) {
    visit("order", o.order,
          Field{.help = "1: DDIM/Euler; 2: DPM-Solver++ (2M), first order on the first and last step",
                .minimum = 1,
                .maximum = 2});
    visit("eta", o.eta,
          Field{.help = "amount of fresh noise per step, order 1 only; 0 = deterministic, 1 = ancestral",
                .minimum = 0,
                .maximum = 1});
  }
};

/// With y the guided and m the unconditional x0 estimate, lambda = log(alpha/sigma), h = lambda' - lambda:
///   order 1: x' = alpha' y + sqrt(sigma'^2 - s^2) eps(uncond) + s z, s = ancestral_sigma(eta), 0 by default
///   order 2: x' = alpha' y + (sigma'/sigma) (x - alpha m) + alpha' (1 - e^-h) (y - m_prev) h / (2 h_prev).
/// The guidance scale is the paper's lambda in [0, 1], 0.6 by default. It interpolates, yet 1 is not the
/// unguided run, since the noise still comes from the unconditional prediction. Where both predictions agree,
/// order 1 is DDIM and order 2 is DPM-Solver++ (2M).
/// Cost:    N predictions, unconditional branch included; guidance evaluates it anyway.
/// Source:  Chung et al., "CFG++: Manifold-constrained Classifier Free Guidance", ICLR 2025,
///          arXiv:2406.08070, Alg. 2; order 2 as in their released code.
class CfgPlusPlus final : public Solver {
 public:
  using Options = CfgPlusPlusOptions;
  static constexpr EntryInfo info{
      .kind = "solver",
      .name = "cfgpp",
      .summary = "denoises with guidance, renoises with the unconditional prediction; scale in [0, 1]",
      .cost = "N predictions, the unconditional branch included",
      .source = "Chung et al. 2025, ICLR, arXiv:2406.08070, Alg. 2",
      .guidance = GuidanceRange{.fallback = 0.6, .smallest = 0.0, .largest = 1.0}};

  explicit CfgPlusPlus(CfgPlusPlusOptions options = {}) : options_(options) {
    check_ranges(info.name, options_);
    GLINT_CHECK(options_.order == 1 || options_.eta == 0.0, InvalidArgument,
                "cfgpp.eta: order 2 has no fresh noise; expected 0, got {}", options_.eta);
  }

  at::Tensor step(const SolverStep& s, SolverHistory& history, NoiseStream& noise) const override {
    const Affine x0 = denoised_from(s.parameterization, s.from());
    at::Tensor before;
    if (options_.order == 2) before = std::exchange(history.denoised, x0(s.x, s.branches.uncond));
    if (s.to().sigma == 0.0) return (s.to().alpha * x0)(s.x, s.output);
    const Affine eps = epsilon_from(s.parameterization, s.from());
    const double fresh = ancestral_sigma(s.from(), s.to(), options_.eta);
    const double kept = std::sqrt((std::max)(0.0, s.to().sigma * s.to().sigma - fresh * fresh));
    at::Tensor x = (s.to().alpha * x0)(s.x, s.output).add_((kept * eps)(s.x, s.branches.uncond));
    if (fresh > 0.0) x.add_(noise.normal_like(x), fresh);
    if (!before.defined()) return x;
    // 0 where the previous step started at pure noise and so was infinitely long in lambda.
    const double h = detail::log_snr_step(s),
                 previous = s.from().lambda() - s.schedule.level(s.index - 1).lambda();
    const double slope = std::isinf(previous) ? 0.0 : 0.5 * h / previous;
    return x.add_(x0(s.x, s.output).sub_(before), -s.to().alpha * std::expm1(-h) * slope);
  }
  NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const override {
    return options_.order == 2 ? Dpmpp2m().schedule(training, grid) : Euler().schedule(training, grid);
  }
  NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const override {
    return options_.order == 2 ? Dpmpp2m().schedule(training, grid) : Euler().schedule(training, grid);
  }
  BranchSet reads() const override { return {.cond = false, .uncond = true}; }
  void validate(const NoiseSchedule& schedule, const ModelInfo& model) const override {
    if (options_.order == 2) detail::check_multistep(info.name, schedule);
    GLINT_CHECK(
        model.uncond_branch, InvalidArgument,
        "solver cfgpp: it renoises with the unconditional prediction, and model '{}' has no unconditional "
        "branch",
        model.name);
  }

 private:
  CfgPlusPlusOptions options_;
};

}  // namespace glint
