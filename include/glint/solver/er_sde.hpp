// ER-SDE-Solver: the extended reverse-time SDE, solved to third order in sigma/alpha.
#pragma once

#include <glint/solver/log_snr.hpp>

namespace glint {

/// The noise function phi of the extended reverse-time SDE.
enum class ErNoise {
  Er,   ///< x (e^(x^0.3) + 10), the paper's choice
  Sde,  ///< x^2: the reverse SDE
  Ode   ///< x: the probability flow, without noise
};
template <>
struct EnumNames<ErNoise> {
  static constexpr std::array<std::string_view, 3> values{"er", "sde", "ode"};
};

struct ErSdeOptions {
  int order = 3;
  ErNoise noise = ErNoise::Er;
  double noise_scale = 1.0;
  bool legacy = false;

  static void fields(auto& visit, auto& o) {
    visit("order", o.order,
          Field{.help = "order of the expansion, less at the start", .minimum = 1, .maximum = 3});
    visit("noise", o.noise,
          Field{.help = "how the noise falls: er (the paper's), sde (the reverse SDE) or ode (none)"});
    visit("noise_scale", o.noise_scale,
          Field{.help = "standard deviation of the fresh noise", .minimum = 0, .maximum = 100});
    visit("legacy", o.legacy,
          Field{.help = "no second-order slope at order 3, as in the released code, which makes it order 2"});
  }
};

/// With S = sigma/alpha, r = phi(S') / phi(S) and m', m'' divided differences of the x0 estimates in S:
///   x' = (alpha'/alpha) r x + alpha' ((1 - r) m + (S' - S + phi(S') I_0) m'
///        + ((S' - S)^2 / 2 + phi(S') I_1) m'' + sqrt(S'^2 - r^2 S^2) z),
/// I_k the integral of (u - S)^k / phi(u) from S' to S.
/// Jumps to x0 where the grid ends at sigma = 0.
/// Source:  Cui et al., "Elucidating the Solution Space of Extended Reverse-Time SDE for Diffusion Models",
///          arXiv:2309.06169, Alg. 3 (VP in its variance-exploding form).
class ErSde final : public OnLogSnrGrid {
 public:
  using Options = ErSdeOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "er-sde",
                                  .summary = "extended reverse-time SDE, order 3, little fresh noise",
                                  .cost = "N predictions",
                                  .source = "Cui et al. 2023, arXiv:2309.06169, Alg. 3"};

  explicit ErSde(ErSdeOptions options = {}) : options_(options) { check_ranges(info.name, options_); }

  at::Tensor step(const SolverStep& s, SolverHistory& history, NoiseStream& noise) const override {
    const at::Tensor m0 = s.denoised();
    const at::Tensor m1 = std::exchange(history.denoised, m0);
    const double from = s.from().ratio(), to = s.to().sigma == 0.0 ? 0.0 : s.to().ratio();
    at::Tensor slope;
    if (m1.defined() && options_.order >= 2)
      slope = m0.sub(m1).div_(from - s.schedule.level(s.index - 1).ratio());
    const at::Tensor older = std::exchange(history.slope, slope);
    if (to == 0.0) return first_order_step(s, 0.0, noise);

    const double end = phi(to), r = end / phi(from), step = to - from;
    at::Tensor x = s.x.mul(s.to().alpha / s.from().alpha * r).add_(m0, s.to().alpha * (1.0 - r));
    if (slope.defined()) x.add_(slope, s.to().alpha * (step + end * integral(from, to, 0)));
    if (older.defined() && options_.order >= 3) {
      const double span = (from - s.schedule.level(s.index - 2).ratio()) / 2.0;
      const double last = from - s.schedule.level(s.index - 1).ratio();
      double of_bend = 0.5 * step * step + end * integral(from, to, 1);
      // The difference over the last step is the slope at its middle, half a step of bend away.
      if (!options_.legacy) of_bend += 0.5 * last * (step + end * integral(from, to, 0));
      x.add_(slope.sub(older), s.to().alpha * of_bend / span);
    }
    const double fresh = std::sqrt(std::max(0.0, to * to - r * r * from * from)) * options_.noise_scale;
    if (options_.noise != ErNoise::Ode && options_.noise_scale > 0.0)
      x.add_(noise.normal_like(x), s.to().alpha * fresh);
    return x;
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    check_log_snr(info.name, schedule);
  }

 private:
  double phi(double x) const {
    switch (options_.noise) {
      case ErNoise::Er: return x * (std::exp(std::pow(x, 0.3)) + 10.0);
      case ErNoise::Sde: return x * x;
      default: return x;
    }
  }

  /// Returns the integral of (u - from)^k / phi(u) over u from `to` to `from`, by Simpson's rule in log(u).
  double integral(double from, double to, int k) const {
    constexpr int kIntervals = 200;
    const double low = std::log(to), width = (std::log(from) - low) / kIntervals;
    double sum = 0.0;
    for (int i = 0; i <= kIntervals; ++i) {
      const double u = std::exp(low + i * width);
      const double value = u * (k == 0 ? 1.0 : u - from) / phi(u);
      sum += value * (i == 0 || i == kIntervals ? 1.0 : i % 2 == 1 ? 4.0 : 2.0);
    }
    return sum * width / 3.0;
  }

  ErSdeOptions options_;
};

}  // namespace glint
