// Second-order methods that predict twice a step: Heun, DPM-Solver-2, and Heun with restarts.
#pragma once

#include <glint/solver/first_order.hpp>

namespace glint {

namespace detail {

/// The variables in which the probability flow is dX/dt = (X - x0) / t: X = x/alpha, t = sigma/alpha (VP), or
/// X = x, t = sigma (flow).
struct FlowVariables {
  double scale;  ///< x = scale X
  double time;

  FlowVariables(NoiseKind kind, const Level& level)
      : scale(kind == NoiseKind::Flow ? 1.0 : level.alpha),
        time(kind == NoiseKind::Flow ? level.sigma : level.ratio()) {}
};

/// Returns the level at time t of FlowVariables.
inline Level level_at_time(const NoiseSchedule& schedule, double t) {
  return schedule.at_ratio(schedule.kind() == NoiseKind::Flow ? t / (1.0 - t) : t);
}

/// Returns (X - x0) / t as a combination of x and the raw output: eps (VP), or the velocity eps - x0 (flow).
inline Affine slope_from(Parameterization p, NoiseKind kind, const Level& level) {
  if (kind == NoiseKind::VariancePreserving) return epsilon_from(p, level);
  if (p == Parameterization::Velocity) return {0.0, 1.0};
  return epsilon_from(p, level) - denoised_from(p, level);
}

/// Returns x at `to`, following dX/dt = slope from x at `from`.
inline at::Tensor along(const at::Tensor& x, const at::Tensor& slope, NoiseKind kind, const Level& from,
                        const Level& to) {
  const FlowVariables a(kind, from), b(kind, to);
  return x.mul(b.scale / a.scale).add_(slope, b.scale * (b.time - a.time));
}

/// Returns x at `to` by the trapezoidal rule, given the raw output for x at `from`; Euler if `to` has no
/// noise.   Cost: 1 further prediction.
inline at::Tensor heun_update(const at::Tensor& x, const at::Tensor& output, Parameterization p,
                              NoiseKind kind, const Level& from, const Level& to, const Evaluate& evaluate) {
  const at::Tensor euler = move(x, output, p, from, to);
  if (to.sigma == 0.0) return euler;
  const at::Tensor here = slope_from(p, kind, from)(x, output);
  const at::Tensor there = slope_from(p, kind, to)(euler, evaluate(euler, to));
  return along(x, here.add(there).mul_(0.5), kind, from, to);
}

/// Throws InvalidArgument unless sigma/alpha is finite at every level.
inline void check_signal(std::string_view solver, const NoiseSchedule& schedule) {
  for (const Level& level : schedule.levels())
    GLINT_CHECK(level.alpha > 0.0, InvalidArgument,
                "solver {}: expected some signal at every level, but one is pure noise (alpha = 0); use "
                "euler, ddim or unipc, or a schedule that starts below it",
                solver);
}

/// Throws InvalidArgument if a level has no FlowVariables: pure noise, on a VP grid.
inline void check_variables(std::string_view solver, const NoiseSchedule& schedule) {
  if (schedule.kind() == NoiseKind::VariancePreserving) check_signal(solver, schedule);
}

}  // namespace detail

/// Heun's method, in the variables of Euler: the mean of the slopes at both ends of the step; the last step
/// is Euler's.
/// Cost:    2 N - 1 predictions; 2 N if the grid ends above sigma = 0.
/// Source:  Karras et al., "Elucidating the Design Space", NeurIPS 2022, arXiv:2206.00364, Alg. 1 and 2.
class Heun final : public Churned {
 public:
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "heun",
                                  .summary = "Heun's method, order 2, two predictions a step",
                                  .cost = "2 N - 1 predictions",
                                  .source = "Karras et al. 2022, arXiv:2206.00364, Alg. 1 and 2"};

  explicit Heun(const ChurnOptions& options = {}) : Churned(info.name, options) {}
  at::Tensor step(const SolverStep& s, SolverHistory&, NoiseStream&) const override {
    return detail::heun_update(s.x, s.output, s.parameterization, s.schedule.kind(), s.from(), s.to(),
                               s.evaluate);
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    detail::check_variables(info.name, schedule);
  }
};

/// The midpoint method: the slope at the geometric mean of the step's ends, in the variables of Euler; the
/// last step is Euler's.
/// Cost:    2 N - 1 predictions; 2 N if the grid ends above sigma = 0.
/// Source:  Lu et al., "DPM-Solver", NeurIPS 2022, arXiv:2206.00927, Alg. 1, in the form of Karras et al.
///          2022, arXiv:2206.00364.
class Dpm2 final : public Churned {
 public:
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "dpm2",
                                  .summary = "DPM-Solver-2, order 2, two predictions a step",
                                  .cost = "2 N - 1 predictions",
                                  .source = "Lu et al. 2022, arXiv:2206.00927, Alg. 1"};

  explicit Dpm2(const ChurnOptions& options = {}) : Churned(info.name, options) {}
  at::Tensor step(const SolverStep& s, SolverHistory&, NoiseStream& noise) const override {
    if (s.to().sigma == 0.0) return first_order_step(s, 0.0, noise);
    const NoiseKind kind = s.schedule.kind();
    const double from = detail::FlowVariables(kind, s.from()).time;
    const double to = detail::FlowVariables(kind, s.to()).time;
    const Level middle = detail::level_at_time(s.schedule, std::sqrt(from * to));
    const at::Tensor x = move(s.x, s.output, s.parameterization, s.from(), middle);
    const at::Tensor slope = detail::slope_from(s.parameterization, kind, middle)(x, s.evaluate(x, middle));
    return detail::along(s.x, slope, kind, s.from(), s.to());
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    detail::check_variables(info.name, schedule);
  }
};

struct RestartOptions {
  double low = 0.1, high = 2.0;
  int restarts = 1, restart_steps = 9;

  static void fields(auto& visit, auto& o) {
    visit("low", o.low, Field{.help = "sigma/alpha to restart from", .minimum = 1e-6, .maximum = 1e9});
    visit("high", o.high, Field{.help = "sigma/alpha to go back to", .minimum = 1e-6, .maximum = 1e9});
    visit("restarts", o.restarts, Field{.help = "how often; 0 = heun", .minimum = 0, .maximum = 1000});
    visit("restart_steps", o.restart_steps,
          Field{.help = "steps of the way down again", .minimum = 1, .maximum = 1000, .unit = "steps"});
  }
};

/// Heun's method that, on reaching the level nearest to `low`, adds fresh noise up to the level nearest to
/// `high` and comes down again in steps spaced as Karras et al. do, `restarts` times.
/// Cost:    2 N - 1 + 2 restarts restart_steps predictions.
/// Source:  Xu et al., "Restart Sampling for Improving Generative Processes", NeurIPS 2023, arXiv:2306.14878,
///          Alg. 1.
class Restart final : public OnEulerGrid {
 public:
  using Options = RestartOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "restart",
                                  .summary = "Heun that goes back up with fresh noise and down again",
                                  .cost = "2 N - 1 + 2 restarts restart_steps predictions",
                                  .source = "Xu et al. 2023, NeurIPS, arXiv:2306.14878, Alg. 1"};

  explicit Restart(RestartOptions options = {}) : options_(options) {
    check_ranges(info.name, options_);
    GLINT_CHECK(options_.low < options_.high, InvalidArgument,
                "restart.low: expected less than high, {}, got {}", options_.high, options_.low);
  }

  at::Tensor step(const SolverStep& s, SolverHistory&, NoiseStream& noise) const override {
    const NoiseKind kind = s.schedule.kind();
    at::Tensor x = detail::heun_update(s.x, s.output, s.parameterization, kind, s.from(), s.to(), s.evaluate);
    const int low = nearest(s.schedule, options_.low);
    if (options_.restarts == 0 || s.index + 1 != low) return x;
    const Level &high = s.schedule.level(nearest(s.schedule, options_.high)), &end = s.schedule.level(low);
    const double fresh = std::sqrt(high.ratio() * high.ratio() - end.ratio() * end.ratio());
    const std::vector<double> ratios = detail::spread(
        {.steps = options_.restart_steps + 1, .sigmas = Sigmas::Karras}, high.ratio(), end.ratio());
    for (int k = 0; k < options_.restarts; ++k) {
      x = x.mul(high.alpha / end.alpha).add_(noise.normal_like(x), high.alpha * fresh);
      Level here = high;
      for (int i = 1; i <= options_.restart_steps; ++i) {
        const bool last = i == options_.restart_steps;
        const Level next = last ? end : s.schedule.at_ratio(ratios[static_cast<size_t>(i)]);
        x = detail::heun_update(x, s.evaluate(x, here), s.parameterization, kind, here, next, s.evaluate);
        here = next;
      }
    }
    return x;
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    detail::check_variables(info.name, schedule);
    if (options_.restarts == 0) return;
    const int low = nearest(schedule, options_.low), high = nearest(schedule, options_.high);
    GLINT_CHECK(
        high < low && schedule.level(high).ratio() > schedule.level(low).ratio(), InvalidArgument,
        "restart: sigma/alpha {} and {} are nearest to the same of the run's {} levels; use more steps "
        "or restarts=0",
        options_.low, options_.high, schedule.steps() + 1);
  }

 private:
  /// Returns the level with noise and signal whose sigma/alpha is nearest, 0 if there is none.
  static int nearest(const NoiseSchedule& schedule, double ratio) {
    int best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i <= schedule.steps(); ++i) {
      const Level& level = schedule.level(i);
      if (level.sigma == 0.0 || level.alpha == 0.0) continue;
      const double distance = std::abs(level.ratio() - ratio);
      if (distance < least) {
        least = distance;
        best = i;
      }
    }
    return best;
  }

  RestartOptions options_;
};

}  // namespace glint
