// The first-order solvers DDIM, Euler, Euler ancestral and flow Euler: one update, different grids and eta.
#pragma once

#include <glint/core/schedule_flow.hpp>
#include <glint/core/schedule_vp.hpp>
#include <glint/solver/solver.hpp>

namespace glint {

/// Returns the standard deviation of the fresh noise in a step: eta times that of the noising process's exact
/// posterior, sigma' sqrt(1 - (S'/S)^2) with S = sigma/alpha.
/// Source:  Song et al., "DDIM", ICLR 2021, Eq. 16; equals sigma_up of k-diffusion's ancestral steps.
inline double ancestral_sigma(const Level& from, const Level& to, double eta) {
  if (eta == 0.0 || to.sigma == 0.0) return 0.0;
  const double quotient =
      (to.sigma * from.alpha) / (to.alpha * from.sigma);  // S'/S, finite even at from.alpha = 0
  return eta * to.sigma * std::sqrt(std::max(0.0, 1.0 - quotient * quotient));
}

/// Returns alpha' x0 + sqrt(sigma'^2 - s^2) eps + s z with s = ancestral_sigma(eta).
inline at::Tensor first_order_step(const SolverStep& step, double eta, NoiseStream& noise) {
  const double fresh = ancestral_sigma(step.from(), step.to(), eta);
  Level target = step.to();
  target.sigma = std::sqrt(std::max(0.0, target.sigma * target.sigma - fresh * fresh));
  at::Tensor x = move(step.x, step.output, step.parameterization, step.from(), target);
  if (fresh > 0.0) x.add_(noise.normal_like(x), fresh);
  return x;
}

struct EtaOptions {
  double eta = 0.0;
  static void fields(auto& visit, auto& o) {
    visit("eta", o.eta,
          Field{.help = "amount of fresh noise per step; 0 = deterministic, 1 = ancestral",
                .minimum = 0,
                .maximum = 1});
  }
};

/// Base of the solvers on Euler's grid.
class OnEulerGrid : public Solver {
 public:
  NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const override {
    return vp_schedule(training, grid);
  }
  NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const override {
    return flow_schedule(training, grid);
  }
};

struct NoOptions {
  static void fields(auto&, auto&) {}
};

/// DDIM, deterministic at eta = 0.
/// Source:  Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, arXiv:2010.02502, Eq. 12 and 16.
class Ddim final : public Solver {
 public:
  using Options = EtaOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "ddim",
                                  .summary = "DDIM, order 1; eta > 0 adds fresh noise",
                                  .cost = "N predictions",
                                  .source = "Song et al. 2021, arXiv:2010.02502, Eq. 12"};

  explicit Ddim(EtaOptions options = {}) : eta_(options.eta) { check_ranges(info.name, options); }

  at::Tensor step(const SolverStep& step, SolverHistory&, NoiseStream& noise) const override {
    return first_order_step(step, eta_, noise);
  }

  /// Returns unmodified training levels; each step lands train_steps / N further down, wherever the next one
  /// starts.
  NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const override {
    detail::check_grid(training, grid);
    GLINT_CHECK(grid.sigmas == Sigmas::Model, InvalidArgument,
                "sigmas: solver ddim takes the model's own levels; use euler for karras or exponential");
    const detail::TrainingTable table(alpha_bars(training));
    const int stride = training.train_steps / grid.steps;
    const Level end = training.final_alpha == FinalAlpha::One ? Level{} : table.level(0);
    std::vector<Level> levels, landings;
    bool chained = true;
    for (double time : detail::timesteps(grid, training.train_steps, {})) {
      GLINT_CHECK(
          time >= 0 && time < training.train_steps, InvalidArgument,
          "schedule.steps_offset: {} steps and an offset of {} begin at timestep {}, the model has {}",
          grid.steps, grid.steps_offset, time, training.train_steps);
      if (!landings.empty()) chained = chained && landings.back().model_time == time;
      levels.push_back(table.level(static_cast<int>(time)));
      const int landing = static_cast<int>(time) - stride;
      landings.push_back(landing >= 0 ? table.level(landing) : end);
    }
    levels.push_back(landings.back());
    NoiseSchedule schedule(NoiseKind::VariancePreserving, std::move(levels), training.train_steps);
    return chained ? schedule : schedule.with_landings(std::move(landings));
  }
  NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const override {
    return flow_schedule(training, grid);
  }

 private:
  double eta_;
};

/// The Euler method on dX/dS = eps, with X = x/alpha, S = sigma/alpha. In x it is the DDIM update.
/// Source:  Karras et al., "Elucidating the Design Space", NeurIPS 2022, arXiv:2206.00364, Alg. 1 without the
///          second-order correction.
class Euler final : public OnEulerGrid {
 public:
  using Options = NoOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "euler",
                                  .summary = "Euler on the probability-flow ODE, order 1",
                                  .cost = "N predictions",
                                  .source = "Karras et al. 2022, arXiv:2206.00364, Alg. 1"};

  explicit Euler(NoOptions = {}) {}

  at::Tensor step(const SolverStep& step, SolverHistory&, NoiseStream& noise) const override {
    return first_order_step(step, 0.0, noise);
  }
};

struct AncestralOptions {
  double eta = 1.0;
  static void fields(auto& visit, auto& o) {
    visit("eta", o.eta,
          Field{.help = "amount of fresh noise per step; 0 = Euler", .minimum = 0, .maximum = 1});
  }
};

/// Euler with ancestral noise: steps down to sigma_down, then adds fresh noise up to the next level.
/// Source:  Karras et al. 2022 (k-diffusion's ancestral step); equals DDIM with eta on the Euler grid.
class EulerAncestral final : public OnEulerGrid {
 public:
  using Options = AncestralOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "euler-ancestral",
                                  .summary = "Euler with fresh noise at every step but the last, order 1",
                                  .cost = "N predictions",
                                  .source = "Karras et al. 2022, arXiv:2206.00364; Song et al. 2021, Eq. 16"};

  explicit EulerAncestral(Options options = {}) : eta_(options.eta) { check_ranges(info.name, options); }

  at::Tensor step(const SolverStep& step, SolverHistory&, NoiseStream& noise) const override {
    return first_order_step(step, eta_, noise);
  }

 private:
  double eta_;
};

/// The Euler method on dx/dsigma = velocity.
/// Source:  Lipman et al., "Flow Matching", ICLR 2023, arXiv:2210.02747; Esser et al., SD3, arXiv:2403.03206.
class FlowEuler final : public OnEulerGrid {
 public:
  using Options = NoOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "flow-euler",
                                  .summary = "Euler on the flow ODE, order 1",
                                  .cost = "N predictions",
                                  .source = "Lipman et al. 2023, arXiv:2210.02747"};

  explicit FlowEuler(NoOptions = {}) {}

  at::Tensor step(const SolverStep& step, SolverHistory&, NoiseStream& noise) const override {
    return first_order_step(step, 0.0, noise);
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    GLINT_CHECK(schedule.kind() == NoiseKind::Flow, InvalidArgument,
                "solver flow-euler: expected a flow model, got a variance-preserving one; use euler or ddim");
  }
};

}  // namespace glint
