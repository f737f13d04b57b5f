// Grids of variance-preserving models: the training table of alpha_bar and the N levels a run picks from it.
#pragma once

#include <glint/core/beta_distribution.hpp>
#include <glint/core/schedule.hpp>
#include <glint/core/schedule_options.hpp>

#include <memory>
#include <numbers>
#include <span>

namespace glint {

/// Returns alpha_bar, the fraction of signal variance left after each training step: train_steps decreasing
/// values. Uses float32 where the reference implementations do: 1 - beta loses digits that matter in the last
/// steps of a run, and models were trained with the rounded values.
/// Errors: InvalidArgument for betas outside (0, 1) or fewer than 2 training steps.
/// Source: Ho et al., DDPM, arXiv:2006.11239; Nichol and Dhariwal 2021, Eq. 17;
///         Lin et al., arXiv:2305.08891, Alg. 1.
inline std::vector<double> alpha_bars(const VpTraining& training) {
  const int n = training.train_steps;
  GLINT_CHECK(n >= 2, InvalidArgument, "train_steps: expected at least 2, got {}", n);
  GLINT_CHECK(0.0 < training.beta_start && training.beta_start < training.beta_end && training.beta_end < 1.0,
              InvalidArgument, "beta_start, beta_end: expected 0 < beta_start < beta_end < 1, got {} and {}",
              training.beta_start, training.beta_end);
  const bool scaled = training.betas == Betas::ScaledLinear;
  const double first = scaled ? std::sqrt(training.beta_start) : training.beta_start;
  const double last = scaled ? std::sqrt(training.beta_end) : training.beta_end;
  const float step = (static_cast<float>(last) - static_cast<float>(first)) / static_cast<float>(n - 1);
  const auto cosine = [n](int i) {
    const double angle = (static_cast<double>(i) / n + 0.008) / 1.008 * std::numbers::pi / 2.0;
    return std::cos(angle) * std::cos(angle);
  };
  const auto beta = [&](int i) -> float {
    if (training.betas == Betas::SquaredCosine)
      return static_cast<float>((std::min)(1.0 - cosine(i + 1) / cosine(i), 0.999));
    const float value = i < n / 2 ? static_cast<float>(first) + step * static_cast<float>(i)
                                  : static_cast<float>(last) - step * static_cast<float>(n - 1 - i);
    return scaled ? value * value : value;
  };

  std::vector<double> table(static_cast<size_t>(n));
  double product = 1.0;
  for (int i = 0; i < n; ++i) {
    product *= static_cast<double>(1.0f - beta(i));
    table[static_cast<size_t>(i)] = static_cast<double>(static_cast<float>(product));
  }
  if (!training.zero_terminal_snr) return table;

  // Shift sqrt(alpha_bar) to end at 0 and scale it to keep its first value, then recompute it from the betas
  // as the reference does.
  const float kept = std::sqrt(static_cast<float>(table.front())),
              lost = std::sqrt(static_cast<float>(table.back()));
  float before = 1.0f;
  product = 1.0;
  for (double& value : table) {
    const float root = (std::sqrt(static_cast<float>(value)) - lost) * (kept / (kept - lost));
    const float bar = root * root;
    const float rescaled_beta = 1.0f - bar / before;
    before = bar;
    product *= static_cast<double>(1.0f - rescaled_beta);
    value = static_cast<double>(static_cast<float>(product));
  }
  return table;
}

namespace detail {

/// Returns point i of n evenly spaced ones from `first` to `last`, rounded as numpy.linspace rounds.
inline double linspace(double first, double last, int n, int i) {
  if (n == 1) return first;
  return i == n - 1 ? last : i * ((last - first) / (n - 1)) + first;
}

/// The training table as levels and as the ratio S = sigma/alpha, which k-diffusion interpolates.
class TrainingTable {
 public:
  explicit TrainingTable(std::vector<double> alpha_bar) : alpha_bar_(std::move(alpha_bar)) {
    for (double exact : alpha_bar_) {
      const float bar = static_cast<float>(exact);
      ratios_.push_back(static_cast<double>(std::sqrt((1.0f - bar) / bar)));
    }
  }

  int size() const { return static_cast<int>(alpha_bar_.size()); }
  double ratio_max() const { return ratios_.back(); }
  double ratio_min() const { return ratios_.front(); }

  static Level from_alpha_bar(double time, double bar) {
    return {time, std::sqrt(bar), std::sqrt(1.0 - bar)};
  }
  /// Returns the level with ratio S, which the references hold in float32.
  static Level from_ratio(double time, double ratio) {
    const double s = static_cast<double>(static_cast<float>(ratio));
    const double alpha = 1.0 / std::sqrt(s * s + 1.0);
    return {static_cast<double>(static_cast<float>(time)), alpha, s * alpha};
  }

  Level level(int timestep) const {
    return from_alpha_bar(timestep, alpha_bar_[static_cast<size_t>(timestep)]);
  }

  double ratio_at(double time) const {
    const auto low = static_cast<size_t>(std::clamp(std::floor(time), 0.0, static_cast<double>(size() - 1)));
    const size_t high = (std::min)(low + 1, ratios_.size() - 1);
    return (ratios_[high] - ratios_[low]) * (time - static_cast<double>(low)) + ratios_[low];
  }

  /// Returns the fractional timestep whose log ratio is log S. The references hold the table's logarithms and
  /// their differences in float32, which decides what an integer timestep truncates to.
  double time_of(double ratio) const {
    const double target = std::log((std::max)(ratio, 1e-10));
    const auto log_ratio = [this](size_t i) { return std::log(static_cast<float>(ratios_[i])); };
    size_t low = 0, high = ratios_.size() - 1;  // the answer lies in [low, low + 1]
    while (high - low > 1) {
      const size_t middle = (low + high) / 2;
      (static_cast<double>(log_ratio(middle)) <= target ? low : high) = middle;
    }
    const float below = log_ratio(low), above = log_ratio(low + 1);
    const double share =
        std::clamp((static_cast<double>(below) - target) / static_cast<double>(below - above), 0.0, 1.0);
    return (1.0 - share) * static_cast<double>(low) + share * static_cast<double>(low + 1);
  }

 private:
  std::vector<double> alpha_bar_;
  std::vector<double> ratios_;
};

/// How a solver places its timesteps.
struct Placement {
  bool extra_point = false;  ///< take N + 1 points and drop the cleanest
  bool fractional = false;   ///< do not round linspace
};

/// Returns the grid's timesteps, noisiest first.
inline std::vector<double> timesteps(const GridOptions& grid, int train_steps, Placement placement) {
  const int n = grid.steps;
  const bool extra = placement.extra_point;
  std::vector<double> times(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) {
    double& time = times[static_cast<size_t>(i)];
    switch (grid.spacing) {
      case Spacing::Leading: {
        const int stride = train_steps / (extra ? n + 1 : n);
        time = static_cast<double>((extra ? n - i : n - 1 - i) * stride + grid.steps_offset);
        break;
      }
      case Spacing::Trailing: {
        // numpy arange's stride, whose rounding decides which way halves go.
        const double stride = (train_steps - static_cast<double>(train_steps) / n) - train_steps;
        time = std::nearbyint(train_steps + i * stride) - 1.0;
        break;
      }
      case Spacing::Linspace: {
        const int points = extra ? n + 1 : n;
        time = linspace(0.0, train_steps - 1.0, points, points - 1 - i);
        time = placement.fractional ? static_cast<double>(static_cast<float>(time)) : std::nearbyint(time);
        break;
      }
      case Spacing::Simple:
        time = train_steps - 1 - std::floor(i * (static_cast<double>(train_steps) / n));
        break;
    }
  }
  return times;
}

/// The published sigma/alpha of a model's optimised grid of ten steps; the last one is where training ends.
/// Source:  Sabour, Fidler and Kreis, "Align Your Steps", ICML 2024, arXiv:2404.14507, as tabulated on the
///          authors' page "howto".
inline std::span<const double> aligned_steps(Sigmas sigmas) {
  static constexpr std::array kSd{14.615, 6.475, 3.861, 2.697, 1.886, 1.396,
                                  0.963,  0.652, 0.399, 0.152, 0.029};
  static constexpr std::array kSdxl{14.615, 6.315, 3.771, 2.181, 1.342, 0.862,
                                    0.555,  0.380, 0.234, 0.113, 0.029};
  static constexpr std::array kSvd{700.0, 54.5,  15.886, 7.977, 4.248, 1.789,
                                   0.981, 0.403, 0.173,  0.034, 0.002};
  if (sigmas == Sigmas::AysSd) return kSd;
  return sigmas == Sigmas::AysSdxl ? std::span<const double>(kSdxl) : std::span<const double>(kSvd);
}

/// Returns the first n of n + 1 values of `table`, interpolated in their logarithms.
inline std::vector<double> first_of_table(std::span<const double> table, int n) {
  std::vector<double> values;
  for (int i = 0; i < n; ++i) {
    const double place = static_cast<double>(i) * static_cast<double>(table.size() - 1) / n;
    const size_t low = std::min(static_cast<size_t>(place), table.size() - 2);
    const double share = place - static_cast<double>(low);
    values.push_back(share == 0.0
                         ? table[low]
                         : std::exp(std::lerp(std::log(table[low]), std::log(table[low + 1]), share)));
  }
  return values;
}

/// Returns the run's N values between its own bounds, or else from `high` down to `low`, spaced as
/// grid.sigmas says, which is not Sigmas::Model; own levels and tables ignore `high` and `low`.
/// Errors: InvalidArgument unless sigma_min lies below sigma_max.
inline std::vector<double> spread(const GridOptions& grid, double high, double low) {
  if (!grid.sigmas.own.empty()) return grid.sigmas.own;
  const Sigmas sigmas = grid.sigmas.named;
  const int n = grid.steps;
  if (sigmas >= Sigmas::AysSd) return first_of_table(aligned_steps(sigmas), n);
  high = grid.sigma_max.value_or(high);
  low = grid.sigma_min.value_or(low);
  GLINT_CHECK(low < high || n == 1, InvalidArgument,
              "schedule.sigma_min: expected a level below sigma_max ({}), got {}", high, low);
  const double highest = std::pow(high, 1.0 / grid.rho), lowest = std::pow(low, 1.0 / grid.rho);
  std::vector<double> values;
  for (int i = 0; i < n; ++i) {
    const double share = linspace(0.0, 1.0, n, i);
    switch (sigmas) {
      case Sigmas::Karras: values.push_back(std::pow(highest + share * (lowest - highest), grid.rho)); break;
      case Sigmas::Beta: values.push_back(low + beta_quantile(1.0 - share, 0.6, 0.6) * (high - low)); break;
      case Sigmas::KlOptimal:
        values.push_back(std::tan(share * std::atan(low) + (1.0 - share) * std::atan(high)));
        break;
      default: values.push_back(std::exp(linspace(std::log(high), std::log(low), n, i)));
    }
  }
  return values;
}

/// Throws InvalidArgument unless the run's own levels are N values that fall from at most `highest`.
inline void check_own_levels(const GridOptions& grid, double highest, std::string_view what) {
  const std::vector<double>& own = grid.sigmas.own;
  if (own.empty()) return;
  GLINT_CHECK(own.size() == static_cast<size_t>(grid.steps), InvalidArgument,
              "sigmas: expected one level per step ({}), got {}", grid.steps, own.size());
  for (size_t i = 0; i < own.size(); ++i) {
    GLINT_CHECK(std::isfinite(own[i]) && own[i] > 0.0 && own[i] <= highest, InvalidArgument,
                "sigmas: expected {} in (0, {}], got {}", what, highest, own[i]);
    GLINT_CHECK(i == 0 || own[i] < own[i - 1], InvalidArgument,
                "sigmas: expected falling values, but {} follows {}", own[i], own[i - 1]);
  }
}

/// Throws InvalidArgument if the run bounds levels that have no ends to choose.
inline void check_ends(const GridOptions& grid) {
  GLINT_CHECK(grid.sigmas.has_ends() || (!grid.sigma_min && !grid.sigma_max), InvalidArgument,
              "schedule.{}: applies to karras, exponential, lu, beta and kl_optimal sigmas, not to {}",
              grid.sigma_min ? "sigma_min" : "sigma_max", grid.sigmas.text());
}

/// Throws InvalidArgument unless the model supports these steps and options.
inline void check_grid(const VpTraining& training, const GridOptions& grid) {
  GLINT_CHECK(grid.steps >= 1 && grid.steps <= training.train_steps, InvalidArgument,
              "steps: expected 1 to {}, got {}", training.train_steps, grid.steps);
  check_ranges("schedule", grid);
  check_ends(grid);
}

/// Returns the training table for grids in S = sigma/alpha. Where there is no signal S is infinite, so the
/// references replace that alpha_bar by 2^-24.
inline TrainingTable ratio_table(const VpTraining& training) {
  std::vector<double> bars = alpha_bars(training);
  if (training.zero_terminal_snr) bars.back() = std::pow(2.0, -24);
  return TrainingTable(std::move(bars));
}

/// Returns the schedule with the training table's times for levels between its own.
inline NoiseSchedule with_times_of(const TrainingTable& table, const NoiseSchedule& schedule) {
  return schedule.with_times([shared = std::make_shared<const TrainingTable>(table)](double ratio) {
    return shared->time_of(ratio);
  });
}

/// Returns levels at the timesteps and ratios, plus the terminal one; Terminal::SigmaMin is `last`, or else
/// the least training level. A scaled grid starts at X = S_max z instead of sqrt(S^2 + 1) z.
inline NoiseSchedule ratio_schedule(const VpTraining& training, const GridOptions& grid,
                                    const TrainingTable& table, const std::vector<double>& times,
                                    const std::vector<double>& ratios, bool scaled = false,
                                    std::optional<double> last = std::nullopt) {
  std::vector<Level> levels;
  for (size_t i = 0; i < times.size(); ++i) levels.push_back(TrainingTable::from_ratio(times[i], ratios[i]));
  levels.push_back(grid.terminal == Terminal::Zero
                       ? Level{}
                       : TrainingTable::from_ratio(0.0, last.value_or(table.ratio_min())));
  const double initial_scale = scaled ? levels.front().sigma : 1.0;
  return with_times_of(table, {NoiseKind::VariancePreserving, std::move(levels),
                               static_cast<double>(training.train_steps), initial_scale});
}

/// Returns the run's own spacing of the ratios between `high` and `low`.
/// Errors: InvalidArgument for levels noisier than the model was trained on, give or take the digits of
///         published tables.
inline std::vector<double> spread_ratios(const GridOptions& grid, const TrainingTable& table, double high,
                                         double low) {
  const double highest = 1.001 * table.ratio_max();
  check_own_levels(grid, highest, "sigma/alpha");
  std::vector<double> ratios = spread(grid, high, low);
  GLINT_CHECK(ratios.front() <= highest || grid.sigmas.has_ends(), InvalidArgument,
              "sigmas: {} starts at sigma/alpha {}, but the model was trained up to {}", grid.sigmas.text(),
              ratios.front(), table.ratio_max());
  return ratios;
}

}  // namespace detail

/// Returns the grid of diffusers' Euler schedulers for a variance-preserving model.
/// Errors: InvalidArgument if steps is outside [1, train_steps].
/// Source: diffusers 0.42 EulerDiscreteScheduler; Karras et al. 2022, Eq. 5;
///         Lin et al. 2024, arXiv:2305.08891, Tab. 2.
inline NoiseSchedule vp_schedule(const VpTraining& training, const GridOptions& grid) {
  detail::check_grid(training, grid);
  const detail::TrainingTable table = detail::ratio_table(training);
  std::vector<double> times = detail::timesteps(grid, training.train_steps, {.fractional = true}), ratios;
  for (double time : times) ratios.push_back(table.ratio_at(time));
  const bool own = !grid.sigmas.own.empty();
  if (!grid.sigmas.is(Sigmas::Model)) {
    ratios = detail::spread_ratios(grid, table, ratios.front(), ratios.back());
    for (size_t i = 0; i < times.size(); ++i) times[i] = table.time_of(ratios[i]);
  }
  // Leading spacing stops short of the last training step and therefore starts at sqrt(S^2 + 1) z.
  return detail::ratio_schedule(training, grid, table, times, ratios,
                                own || grid.spacing != Spacing::Leading);
}

}  // namespace glint
