// The first-order solvers DDIM, Euler, Euler ancestral and flow Euler: one update, different grids and eta.
#pragma once

#include <glint/core/clean_sample.hpp>
#include <glint/core/schedule_flow.hpp>
#include <glint/core/schedule_vp.hpp>
#include <glint/solver/solver.hpp>

#include <optional>

namespace glint {

/// Returns the standard deviation of the fresh noise in a step: eta times that of the noising process's exact
/// posterior, sigma' sqrt(1 - (S'/S)^2) with S = sigma/alpha.
/// Source:  Song et al., "DDIM", ICLR 2021, Eq. 16; equals sigma_up of k-diffusion's ancestral steps.
inline double ancestral_sigma(const Level& from, const Level& to, double eta) {
  if (eta == 0.0 || to.sigma == 0.0) return 0.0;
  const double quotient =
      (to.sigma * from.alpha) / (to.alpha * from.sigma);  // S'/S, finite even at from.alpha = 0
  return eta * to.sigma * std::sqrt((std::max)(0.0, 1.0 - quotient * quotient));
}

/// Returns alpha' x0 + sqrt(sigma'^2 - s^2) eps + s z with s = ancestral_sigma(eta).
inline at::Tensor first_order_step(const SolverStep& step, double eta, NoiseStream& noise) {
  const double fresh = ancestral_sigma(step.from(), step.to(), eta);
  Level target = step.to();
  target.sigma = std::sqrt((std::max)(0.0, target.sigma * target.sigma - fresh * fresh));
  at::Tensor x = move(step.x, step.output, step.parameterization, step.from(), target);
  if (fresh > 0.0) x.add_(noise.normal_like(x), fresh);
  return x;
}

struct DdimOptions {
  double eta = 0.0;
  std::optional<double> clip = std::nullopt;
  std::optional<double> threshold = std::nullopt;
  double threshold_max = 1.0;

  static void fields(auto& visit, auto& o) {
    visit("eta", o.eta,
          Field{.help = "amount of fresh noise per step; 0 = deterministic, 1 = ancestral",
                .minimum = 0,
                .maximum = 1});
    visit("clip", o.clip,
          Field{.help = "clips x0, but not eps, to this magnitude; default: off",
                .minimum = 1e-6,
                .maximum = 1e9});
    visit(
        "threshold", o.threshold,
        Field{.help = "dynamic thresholding of x0, but not of eps, at this share of its values; default: off",
              .minimum = 0,
              .maximum = 1});
    visit("threshold_max", o.threshold_max,
          Field{.help = "largest value that thresholding divides by", .minimum = 1e-6, .maximum = 1e9});
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

struct ChurnOptions {
  double churn = 0.0;
  double churn_min = 0.0;
  std::optional<double> churn_max = std::nullopt;
  double churn_noise = 1.0;

  static void fields(auto& visit, auto& o) {
    visit("churn", o.churn,
          Field{.help = "fresh noise over the whole run: each step first raises sigma/alpha by the share "
                        "churn/N, at most 0.41; 0 = deterministic",
                .minimum = 0,
                .maximum = 1e6});
    visit("churn_min", o.churn_min,
          Field{.help = "add noise only from this sigma/alpha on", .minimum = 0, .maximum = 1e9});
    visit("churn_max", o.churn_max,
          Field{.help = "add noise only up to this sigma/alpha; default: no limit",
                .minimum = 0,
                .maximum = 1e9});
    visit("churn_noise", o.churn_noise,
          Field{.help = "standard deviation of the added noise", .minimum = 0, .maximum = 100});
  }
};

/// Returns x raised to the noise S (1 + g) with g = min(churn/N, sqrt(2) - 1), S = sigma/alpha, if S lies in
/// the options' range; pure noise cannot rise.
/// Source:  Karras et al. 2022, arXiv:2206.00364, Alg. 2, lines 4 to 6.
inline Departure churned(const ChurnOptions& options, const at::Tensor& x, const NoiseSchedule& schedule,
                         int index, NoiseStream& noise) {
  const Level& level = schedule.level(index);
  const double ratio = level.ratio();
  const double rise = std::min(options.churn / schedule.steps(), std::sqrt(2.0) - 1.0);
  const bool inside = std::isfinite(ratio) && ratio >= options.churn_min &&
                      !(options.churn_max && ratio > *options.churn_max);
  if (rise == 0.0 || !inside) return {x, level};
  const Level raised = schedule.at_ratio(ratio * (1.0 + rise));
  const double fresh = ratio * std::sqrt((1.0 + rise) * (1.0 + rise) - 1.0);
  return {x.mul(raised.alpha / level.alpha)
              .add_(noise.normal_like(x), raised.alpha * fresh * options.churn_noise),
          raised};
}

/// DDIM, deterministic at eta = 0. `clip` and `threshold` change x0 alone, as diffusers' clip_sample and
/// thresholding do: eps stays what the network predicted. The filters of these names keep the two consistent.
/// Source:  Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, arXiv:2010.02502, Eq. 12 and 16.
class Ddim final : public Solver {
 public:
  using Options = DdimOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "ddim",
                                  .summary = "DDIM, order 1; eta > 0 adds fresh noise",
                                  .cost = "N predictions",
                                  .source = "Song et al. 2021, arXiv:2010.02502, Eq. 12"};

  explicit Ddim(const DdimOptions& options = {}) : options_(options) {
    check_ranges(info.name, options);
    GLINT_CHECK(!options.clip || !options.threshold, InvalidArgument,
                "ddim.clip: expected none beside threshold, got {}", *options.clip);
  }

  at::Tensor step(const SolverStep& step, SolverHistory&, NoiseStream& noise) const override {
    if (!options_.clip && !options_.threshold) return first_order_step(step, options_.eta, noise);
    const double fresh = ancestral_sigma(step.from(), step.to(), options_.eta), whole = step.to().sigma;
    const double kept = std::sqrt((std::max)(0.0, whole * whole - fresh * fresh));
    const at::Tensor x0 = step.denoised();
    const at::Tensor changed =
        options_.clip ? clipped(x0, *options_.clip)
                      : thresholded(x0, {.ratio = *options_.threshold, .max = options_.threshold_max});
    at::Tensor x = changed.mul(step.to().alpha);
    if (kept > 0.0) x.add_(epsilon_from(step.parameterization, step.from())(step.x, step.output), kept);
    if (fresh > 0.0) x.add_(noise.normal_like(x), fresh);
    return x;
  }

  /// Returns unmodified training levels; each step lands train_steps / N further down, wherever the next one
  /// starts.
  NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const override {
    detail::check_grid(training, grid);
    GLINT_CHECK(grid.sigmas.is(Sigmas::Model), InvalidArgument,
                "sigmas: solver ddim takes the model's own levels; use euler for {}", grid.sigmas.text());
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
  DdimOptions options_;
};

/// What Karras et al.'s solvers share: Euler's grid, and steps that may begin with fresh noise.
class Churned : public OnEulerGrid {
 public:
  using Options = ChurnOptions;

  Departure depart(const at::Tensor& x, const NoiseSchedule& schedule, int index,
                   NoiseStream& noise) const final {
    return churned(churn_, x, schedule, index, noise);
  }

 protected:
  Churned(std::string_view solver, const ChurnOptions& options) : churn_(options) {
    check_ranges(solver, options);
  }

 private:
  ChurnOptions churn_;
};

/// The Euler method on dX/dS = eps, with X = x/alpha, S = sigma/alpha. In x it is the DDIM update.
/// Source:  Karras et al., "Elucidating the Design Space", NeurIPS 2022, arXiv:2206.00364, Alg. 2 without the
///          second-order correction; Alg. 1 without churn.
class Euler final : public Churned {
 public:
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "euler",
                                  .summary = "Euler on the probability-flow ODE, order 1",
                                  .cost = "N predictions",
                                  .source = "Karras et al. 2022, arXiv:2206.00364, Alg. 1 and 2"};

  explicit Euler(const ChurnOptions& options = {}) : Churned(info.name, options) {}
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
