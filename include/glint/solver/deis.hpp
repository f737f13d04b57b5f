// DEIS: Adams-Bashforth on eps in log(sigma/alpha), integrated exactly in sigma/alpha.
#pragma once

#include <glint/solver/dpmpp_2m.hpp>

#include <array>

namespace glint {

struct DeisOptions {
  int order = 2;
  static void fields(auto& visit, auto& o) {
    visit("order", o.order,
          Field{.help = "estimates of eps used, fewer at the start and the end", .minimum = 1, .maximum = 3});
  }
};

/// With rho = sigma/alpha and e the polynomial in log(rho) through the last `order` estimates of eps:
///   x' / alpha' = x / alpha + the integral of e from rho to rho'.
/// The last step is DDIM's if the grid ends at sigma = 0; runs of under 15 steps lower the order towards
/// their end, as diffusers does.
/// Source:  Zhang and Chen, "Fast Sampling of Diffusion Models with Exponential Integrator", ICLR 2023,
///          arXiv:2204.13902, Sec. 3.3 (log-rho multistep).
class Deis final : public OnMultistepGrid {
 public:
  using Options = DeisOptions;
  static constexpr EntryInfo info{.kind = "solver",
                                  .name = "deis",
                                  .summary = "DEIS, log-rho multistep, order 1 to 3",
                                  .cost = "N predictions",
                                  .source = "Zhang and Chen 2023, ICLR, arXiv:2204.13902"};

  explicit Deis(DeisOptions options = {}) : order_(options.order) { check_ranges(info.name, options); }

  at::Tensor step(const SolverStep& s, SolverHistory& history, NoiseStream& noise) const override {
    const at::Tensor e0 = epsilon_from(s.parameterization, s.from())(s.x, s.output);
    const std::array estimates{e0, history.slope, history.older_slope};
    history.older_slope = std::exchange(history.slope, e0);
    const int known = history.order = std::min(order_, history.order + 1);
    const int n = s.schedule.steps();
    int order = n < 15 ? std::min(known, n - s.index) : known;
    if (s.to().sigma == 0.0) order = 1;
    if (order == 1) return first_order_step(s, 0.0, noise);
    std::array<double, 3> places{};
    for (int k = 0; k < order; ++k) places[static_cast<size_t>(k)] = -s.schedule.level(s.index - k).lambda();
    at::Tensor x = s.x.mul(s.to().alpha / s.from().alpha);
    for (int k = 0; k < order; ++k)
      x.add_(estimates[static_cast<size_t>(k)],
             s.to().alpha * weight(places, order, k, -s.from().lambda(), -s.to().lambda()));
    return x;
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    detail::check_multistep(info.name, schedule);
    for (const Level& level : schedule.levels())
      GLINT_CHECK(level.alpha > 0.0, InvalidArgument,
                  "solver deis: expected some signal at every level, but one is pure noise (alpha = 0)");
  }

 private:
  /// Returns the integral over rho, from log(rho) = a to b, of the Lagrange polynomial in log(rho) that is 1
  /// at places[k] and 0 at the other places.
  static double weight(const std::array<double, 3>& places, int order, int k, double a, double b) {
    // In y = log(rho): the integral of q(y) e^y, whose antiderivative is (q - q' + q'') e^y.
    double scale = 1.0, sum = 0.0, product = 1.0;  // q = scale (y^d - sum y^(d-1) + product)
    for (int j = 0; j < order; ++j) {
      if (j == k) continue;
      const double root = places[static_cast<size_t>(j)];
      scale /= places[static_cast<size_t>(k)] - root;
      sum += root;
      product *= root;
    }
    const auto antiderivative = [&](double y) {
      const double q = order == 2 ? y - sum : y * y - sum * y + product;
      const double slope = order == 2 ? 1.0 : 2.0 * y - sum, bend = order == 2 ? 0.0 : 2.0;
      return (q - slope + bend) * std::exp(y);
    };
    return scale * (antiderivative(b) - antiderivative(a));
  }

  int order_;
};

}  // namespace glint
