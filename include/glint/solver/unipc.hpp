// UniPC: a multistep predictor with a corrector that costs no extra prediction.
#pragma once

#include <glint/solver/dpmpp_2m.hpp>

namespace glint {

/// The B(h) of UniPC, with hh = -h: hh or e^hh - 1.
enum class UniPcForm { Bh1, Bh2 };
template <>
struct EnumNames<UniPcForm> {
  static constexpr std::array<std::string_view, 2> values{"bh1", "bh2"};
};

struct UniPcOptions {
  int order = 2;
  UniPcForm form = UniPcForm::Bh2;
  bool lower_final = true;
  int uncorrected = 0;

  static void fields(auto& visit, auto& o) {
    visit("order", o.order,
          Field{.help = "previous predictions a step uses, its own included", .minimum = 1, .maximum = 3});
    visit("form", o.form, Field{.help = "the B(h) of the paper"});
    visit("lower_final", o.lower_final, Field{.help = "lower the order of the last steps"});
    visit("uncorrected", o.uncorrected,
          Field{.help = "steps at the start whose results are not corrected", .minimum = 0, .maximum = 1e6});
  }
};

/// UniPC on x0 estimates. Each step first corrects its incoming latents with the prediction made at them,
/// then predicts the next ones. Orders are 1, 2, ..., 2, 1, at most `order`. With lambda = log(alpha/sigma),
/// h the step's length in it, hh = -h, phi = e^hh - 1, m_0 the estimate at its start and D_i = (m_-i - m_0) /
/// r_i, r_i = (lambda_-i - lambda_0) / h:
///   predict: x' = (sigma'/sigma) x - alpha' (phi m_0 + B sum_i rho_i D_i)
///   correct: x  = (sigma/sigma_0) x_0 - alpha (phi m_0 + B (sum_i rho_i D_i + rho_k (m - m_0))).
/// rho solves the order conditions sum_i rho_i r_i^(j-1) = b_j, b_j the j-th phi function's; it is 1/2 in a
/// predictor of order 2 and a corrector of order 1.
/// Source:  Zhao et al., "UniPC", NeurIPS 2023, arXiv:2302.04867, Alg. 5 and 6.
class UniPc final : public Solver {
 public:
  using Options = UniPcOptions;
  static constexpr EntryInfo info{
      .kind = "solver",
      .name = "unipc",
      .summary = "UniPC (bh2), order 2 unless told, with a corrector; Wan's default",
      .cost = "N predictions",
      .source = "Zhao et al. 2023, arXiv:2302.04867, Alg. 5"};

  explicit UniPc(Options options = {}) : options_(options) { check_ranges(info.name, options_); }

  at::Tensor step(const SolverStep& s, SolverHistory& history, NoiseStream&) const override {
    const at::Tensor m = s.denoised();
    const bool corrects = history.order > 0 && history.x.defined() && s.index > options_.uncorrected;
    const at::Tensor x = corrects ? correct(s, m, history) : s.x;
    if (options_.order == 3) history.oldest_denoised = history.older_denoised;
    history.older_denoised = std::exchange(history.denoised, m);
    const int left = s.schedule.steps() - s.index;
    history.order =
        (std::min)({options_.order, options_.lower_final ? left : options_.order, history.order + 1});
    history.x = x;
    return predict(s, x, history);
  }
  NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const override {
    return detail::multistep_schedule(training, grid, true, true);
  }
  NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const override {
    return flow_unipc_schedule(training, grid);
  }
  void validate(const NoiseSchedule& schedule, const ModelInfo&) const override {
    detail::check_multistep(info.name, schedule);
    GLINT_CHECK(options_.lower_final || options_.order == 1 || schedule.level(schedule.steps()).sigma > 0.0,
                InvalidArgument,
                "unipc.lower_final: expected true on a grid that ends at zero noise, which is infinitely far "
                "away, got false");
  }

 private:
  static constexpr size_t kMost = 3;
  using Values = std::array<double, kMost>;

  /// Returns r_1, ..., r_(order-1) of a step from level `start` of length h. They are negative, because the
  /// levels lie behind; infinite where one is pure noise.
  static Values ratios(const NoiseSchedule& g, int start, int order, double h) {
    Values r{};
    for (int i = 1; i < order; ++i)
      r[static_cast<size_t>(i - 1)] = (g.level(start - i).lambda() - g.level(start).lambda()) / h;
    return r;
  }

  /// Returns rho with sum_i rho_i r_i^(j-1) = b_j for j = 1, 2, ..., as many as r_1, ..., r_n are finite; 0
  /// for the others.
  Values weights(const Values& r, size_t n, double h) const {
    std::vector<size_t> used;
    for (size_t i = 0; i < n; ++i)
      if (!std::isinf(r[i])) used.push_back(i);
    const size_t size = used.size();
    const double hh = -h;
    double phi_k = std::expm1(hh) / hh - 1.0, factorial = 1.0;
    std::array<std::array<double, kMost + 1>, kMost> a{};
    for (size_t j = 0; j < size; ++j) {
      for (size_t i = 0; i < size; ++i) a[j][i] = std::pow(r[used[i]], j);
      a[j][size] = phi_k * factorial / big_b(h);
      factorial *= static_cast<double>(j + 2);
      phi_k = phi_k / hh - 1.0 / factorial;
    }
    for (size_t k = 0; k < size; ++k) {  // elimination; r are distinct, so the Vandermonde matrix is regular
      size_t pivot = k;
      for (size_t j = k + 1; j < size; ++j)
        if (std::abs(a[j][k]) > std::abs(a[pivot][k])) pivot = j;
      std::swap(a[k], a[pivot]);
      for (size_t j = 0; j < size; ++j) {
        const double share = j == k ? 0.0 : a[j][k] / a[k][k];
        for (size_t i = k; i <= size; ++i) a[j][i] -= share * a[k][i];
      }
    }
    Values rho{};
    for (size_t k = 0; k < size; ++k) rho[used[k]] = a[k][size] / a[k][k];
    return rho;
  }

  at::Tensor predict(const SolverStep& s, const at::Tensor& x, const SolverHistory& history) const {
    const double h = s.to().lambda() - s.from().lambda();
    const Values r = ratios(s.schedule, s.index, history.order, h);
    Values rho{0.5};
    if (history.order == 3) rho = weights(r, 2, h);  // the reference takes 1/2 at order 2
    return update(x, history, s.from(), s.to(), h, r, rho, history.order - 1);
  }

  at::Tensor correct(const SolverStep& s, const at::Tensor& m, const SolverHistory& history) const {
    const Level &start = s.schedule.level(s.index - 1), &here = s.from();
    const double h = here.lambda() - start.lambda();
    const size_t n = static_cast<size_t>(history.order);
    Values r = ratios(s.schedule, s.index - 1, history.order, h);
    r[n - 1] = 1.0;
    const Values rho = n == 1 ? Values{0.5} : weights(r, n, h);
    at::Tensor x = update(history.x, history, start, here, h, r, rho, history.order - 1);
    const double of_new = -here.alpha * big_b(h) * rho[n - 1];
    return x.add_(m, of_new).add_(history.denoised, -of_new);
  }

  double big_b(double h) const { return options_.form == UniPcForm::Bh1 ? -h : std::expm1(-h); }

  /// Returns (sigma'/sigma) x - alpha' (phi m_0 + B sum_i rho_i D_i), the first `terms` of the sum.
  at::Tensor update(const at::Tensor& x, const SolverHistory& history, const Level& from, const Level& to,
                    double h, const Values& r, const Values& rho, int terms) const {
    const std::array behind{history.older_denoised, history.oldest_denoised};
    at::Tensor next = x.mul(to.sigma / from.sigma);
    double of_here = -to.alpha * std::expm1(-h);
    for (size_t i = 0; i < static_cast<size_t>(terms); ++i) {
      const double weight = std::isinf(r[i]) ? 0.0 : -to.alpha * big_b(h) * rho[i] / r[i];
      if (weight != 0.0) next.add_(behind[i], weight);
      of_here -= weight;
    }
    return next.add_(history.denoised, of_here);
  }

  Options options_;
};

}  // namespace glint
