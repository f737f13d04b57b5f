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
/// cleanest dropped; karras and other sigmas span the whole training range. Model times are integers: rounded
/// for Karras and Lu sigmas if `rounds`, truncated otherwise. Terminal::SigmaMin is the least training level,
/// or, of spread sigmas if `repeats`, the last of them once more.
inline NoiseSchedule multistep_schedule(const VpTraining& training, const GridOptions& grid, bool rounds,
                                        bool repeats = false) {
  check_grid(training, grid);
  const TrainingTable table = ratio_table(training);
  std::vector<double> times = timesteps(grid, training.train_steps, {.extra_point = true}), ratios;
  for (double time : times) ratios.push_back(table.ratio_at(time));
  if (!grid.sigmas.is(Sigmas::Model)) {
    const bool rounded = rounds && (grid.sigmas.is(Sigmas::Karras) || grid.sigmas.is(Sigmas::Lu));
    ratios = spread_ratios(grid, table, table.ratio_max(), table.ratio_min());
    for (size_t i = 0; i < times.size(); ++i) {
      const double time = table.time_of(ratios[i]);
      times[i] = rounded ? std::nearbyint(time) : std::floor(time);
    }
  }
  const bool repeated = repeats && !grid.sigmas.is(Sigmas::Model);
  return ratio_schedule(training, grid, table, times, ratios, false,
                        repeated ? ratios.back() : table.ratio_min());
}

/// Returns h = lambda' - lambda, the step's length in log-SNR.
inline double log_snr_step(const SolverStep& s) { return s.to().lambda() - s.from().lambda(); }

}  // namespace detail

/// The two second-order updates of DPM-Solver++.
enum class SecondOrder { Midpoint, Heun };
template <>
struct EnumNames<SecondOrder> {
  static constexpr std::array<std::string_view, 2> values{"midpoint", "heun"};
};

struct MultistepOptions {
  int order = 2;
  SecondOrder form = SecondOrder::Midpoint;
  bool lower_final = true;
  bool euler_final = false;

  static void fields(auto& visit, auto& o) {
    visit("order", o.order,
          Field{.help = "previous predictions a step uses, its own included", .minimum = 1, .maximum = 3});
    visit("form", o.form, Field{.help = "which second-order update"});
    visit("lower_final", o.lower_final, Field{.help = "lower the order of the last steps of runs under 15"});
    visit("euler_final", o.euler_final, Field{.help = "make the last step of every run first order"});
  }
};

namespace detail {

/// Returns the order of a step under diffusers' rules, `known` earlier x0 estimates being remembered.
inline int multistep_order(const SolverStep& s, const MultistepOptions& options, int known) {
  const int n = s.schedule.steps(), left = n - s.index;
  const int allowed = options.lower_final && n < 15 ? left : options.order;
  if (left == 1 && (options.euler_final || s.to().sigma == 0.0)) return 1;
  return (std::min)({options.order, allowed, known + 1});
}

/// Coefficients of D0, D1 and D2, the x0 estimate and its divided differences, in the multistep updates. The
/// midpoint form of order 2 has zeroth / 2 in place of first.
struct Differences {
  double zeroth, first, second;
};

/// Returns of_x x + c.zeroth D0 + c.first D1 + c.second D2, of the order the history allows, and stores D0 in
/// the history. Where a step started at pure noise and so was infinitely long, its difference counts as 0.
inline at::Tensor multistep_update(const SolverStep& s, SolverHistory& history,
                                   const MultistepOptions& options, double of_x, const Differences& c) {
  const at::Tensor m0 = s.denoised();
  const int known = !history.denoised.defined() ? 0 : !history.older_denoised.defined() ? 1 : 2;
  const int order = multistep_order(s, options, known);
  const at::Tensor m2 = history.older_denoised, m1 = history.denoised;
  if (options.order == 3) history.older_denoised = m1;
  history.denoised = m0;
  at::Tensor x = s.x.mul(of_x);
  if (order == 1) return x.add_(m0, c.zeroth);
  const double h = log_snr_step(s);
  const auto inverse_ratio = [&](int back) {  // h over the length of the step before, or of the one before it
    const Level &start = s.schedule.level(s.index - back), &end = s.schedule.level(s.index - back + 1);
    const double length = end.lambda() - start.lambda();
    return std::isinf(length) ? 0.0 : h / length;
  };
  const double a = inverse_ratio(1);
  if (order == 2) {
    const double of_d0 = options.form == SecondOrder::Midpoint ? 0.5 * c.zeroth : c.first;
    return x.add_(m0, c.zeroth + of_d0 * a).add_(m1, -of_d0 * a);
  }
  const double b = inverse_ratio(2), sum = a + b;
  const double share = sum == 0.0 ? 0.0 : b / sum, curvature = sum == 0.0 ? 0.0 : a * b / sum;
  // D1 = d0 + share (d0 - d1) and D2 = curvature (d0 - d1), with d0 = a (m0 - m1), d1 = b (m1 - m2).
  const double of_d0 = c.first * (1.0 + share) + c.second * curvature;
  const double of_d1 = -c.first * share - c.second * curvature;
  return x.add_(m0, c.zeroth + of_d0 * a).add_(m1, of_d1 * b - of_d0 * a).add_(m2, -of_d1 * b);
}

}  // namespace detail

/// Base of the solvers on DPM-Solver++'s grid.
class OnMultistepGrid : public Solver {
 public:
  NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const override {
    return detail::multistep_schedule(training, grid, training.betas != Betas::SquaredCosine);
  }
  NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const override {
    return flow_multistep_schedule(training, grid);
  }
};

/// With m the x0 estimates, lambda = log(alpha/sigma), h = lambda' - lambda, r = h_prev / h, the midpoint
/// form of order 2 is
///   x' = (sigma'/sigma) x - alpha' (e^-h - 1) (m0 + (m0 - m1) / (2 r)).
/// First order (DDIM) on the first step, and on the last if it lands on sigma = 0 or the run has under 15
/// steps; order 3 takes one more of each at order 2.
/// Source:  Lu et al., "DPM-Solver++", arXiv:2211.01095, Alg. 2 (midpoint), App. B.2 (3M).
class Dpmpp2m final : public OnMultistepGrid {
 public:
  using Options = MultistepOptions;
  static constexpr EntryInfo info{
      .kind = "solver",
      .name = "dpmpp-2m",
      .summary = "DPM-Solver++ (2M), order 2 unless told; the usual default, with sigmas=karras",
      .cost = "N predictions",
      .source = "Lu et al. 2022, arXiv:2211.01095, Alg. 2"};

  explicit Dpmpp2m(Options options = {}) : options_(options) { check_ranges(info.name, options_); }

  at::Tensor step(const SolverStep& s, SolverHistory& history, NoiseStream&) const override {
    const double h = detail::log_snr_step(s), alpha = s.to().alpha, phi = std::expm1(-h);
    return detail::multistep_update(s, history, options_, s.to().sigma / s.from().sigma,
                                    detail::Differences{.zeroth = -alpha * phi,
                                                        .first = alpha * (phi / h + 1.0),
                                                        .second = -alpha * ((phi + h) / (h * h) - 0.5)});
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    if (options_.order > 1) detail::check_multistep(info.name, schedule);
  }

 private:
  Options options_;
};

/// Dpmpp2m with the noise of the reverse SDE; the midpoint form of order 2 is
///   x' = (sigma'/sigma) e^-h x + alpha' (1 - e^-2h) (m0 + (m0 - m1) / (2 r)) + sigma' sqrt(1 - e^-2h) z.
/// Source:  Lu et al., "DPM-Solver++", arXiv:2211.01095, Sec. 5 and App. E (SDE-DPM-Solver++ 2M).
class Dpmpp2mSde final : public OnMultistepGrid {
 public:
  using Options = MultistepOptions;
  static constexpr EntryInfo info{
      .kind = "solver",
      .name = "dpmpp-2m-sde",
      .summary = "SDE form of DPM-Solver++ (2M); fresh noise at every step but the last",
      .cost = "N predictions",
      .source = "Lu et al. 2022, arXiv:2211.01095, Sec. 5"};

  explicit Dpmpp2mSde(Options options = {}) : options_(options) { check_ranges(info.name, options_); }

  at::Tensor step(const SolverStep& s, SolverHistory& history, NoiseStream& noise) const override {
    const double h = detail::log_snr_step(s), alpha = s.to().alpha, fresh = -std::expm1(-2.0 * h);
    const double twice = 2.0 * h;
    at::Tensor x = detail::multistep_update(
        s, history, options_, s.to().sigma / s.from().sigma * std::exp(-h),
        detail::Differences{.zeroth = alpha * fresh,
                            .first = alpha * (1.0 - fresh / twice),
                            .second = alpha * ((fresh - twice) / (twice * twice) - 0.5)});
    if (s.to().sigma > 0.0) x.add_(noise.normal_like(x), s.to().sigma * std::sqrt(fresh));
    return x;
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    if (options_.order > 1) detail::check_multistep(info.name, schedule);
  }

 private:
  Options options_;
};

}  // namespace glint
