// The noise grid of a run: where each step starts and lands. A plain value of doubles, no tensors.
#pragma once

#include <glint/core/error.hpp>
#include <glint/core/level.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

namespace glint {

/// N steps through N+1 levels, noisiest first, terminal level included. Immutable. A diffusers scheduler is
/// such a grid plus a solver; schedule_vp.hpp and schedule_flow.hpp build diffusers' grids.
class NoiseSchedule {
 public:
  /// Shapes:  levels N+1 >= 2, sigma/alpha non-increasing.
  /// Units:   initial_scale is the standard deviation of the first latents: 1, unless the grid starts below
  ///          sigma = 1.
  /// Errors:  InvalidArgument for fewer than 2 levels, negative or non-finite values, or noise that rises.
  NoiseSchedule(NoiseKind kind, std::vector<Level> levels, double train_steps = 1000.0,
                double initial_scale = 1.0)
      : kind_(kind), levels_(std::move(levels)), train_steps_(train_steps), initial_scale_(initial_scale) {
    GLINT_CHECK(levels_.size() >= 2, InvalidArgument, "steps: expected at least 1, got {}",
                static_cast<long>(levels_.size()) - 1);
    for (size_t i = 0; i < levels_.size(); ++i) {
      const Level& l = levels_[i];
      GLINT_CHECK(
          std::isfinite(l.model_time) && l.alpha >= 0.0 && l.sigma >= 0.0 && std::isfinite(l.alpha + l.sigma),
          InvalidArgument, "schedule: level {} is not finite or negative (time {}, alpha {}, sigma {})", i,
          l.model_time, l.alpha, l.sigma);
      // Cross-multiplied, because alpha is 0 at the pure-noise end of a flow.
      GLINT_CHECK(i == 0 || levels_[i - 1].sigma * l.alpha >= l.sigma * levels_[i - 1].alpha, InvalidArgument,
                  "schedule: noise may not rise, but level {} (sigma {}) is noisier than level {} (sigma {})",
                  i, l.sigma, i - 1, levels_[i - 1].sigma);
    }
  }

  NoiseKind kind() const { return kind_; }
  int steps() const { return static_cast<int>(levels_.size()) - 1; }
  double train_steps() const { return train_steps_; }
  /// Standard deviation of the initial latents.
  double initial_scale() const { return initial_scale_; }

  /// Returns level i, 0 <= i <= steps(); 0 is the noisiest.
  const Level& level(int i) const { return levels_[static_cast<size_t>(i)]; }
  const std::vector<Level>& levels() const { return levels_; }

  /// Returns the level where step i lands: level(i + 1), unless with_landings() overrides it.
  const Level& landing(int i) const {
    return landings_.empty() ? level(i + 1) : landings_[static_cast<size_t>(i)];
  }

  /// Returns this grid with steps that land next to, not on, the following level, as diffusers' DDIM does
  /// whenever its timesteps are not exactly train_steps / N apart. Needed only to reproduce diffusers'
  /// images.
  NoiseSchedule with_landings(std::vector<Level> landings) const {
    GLINT_CHECK(landings.size() == static_cast<size_t>(steps()), InvalidArgument,
                "landings: expected one per step ({}), got {}", steps(), landings.size());
    NoiseSchedule copy = *this;
    copy.landings_ = std::move(landings);
    return copy;
  }

  /// Returns this grid with the model time of any noise-to-signal ratio, for the levels that at_ratio() puts
  /// between those of the grid. Flows need none: their time is train_steps sigma.
  NoiseSchedule with_times(std::function<double(double ratio)> time_of) const {
    NoiseSchedule copy = *this;
    copy.time_of_ = std::move(time_of);
    return copy;
  }

  /// Returns the level of a noise-to-signal ratio, 0 < ratio < infinity, on or off the grid. Without
  /// with_times(), a variance-preserving model's time is interpolated in log(ratio) between the grid's levels
  /// and constant beyond them.
  Level at_ratio(double ratio) const {
    if (kind_ == NoiseKind::Flow) {
      const double sigma = ratio / (1.0 + ratio);
      return {train_steps_ * sigma, 1.0 / (1.0 + ratio), sigma};
    }
    const double alpha = 1.0 / std::sqrt(1.0 + ratio * ratio);
    return {time_of_ ? time_of_(ratio) : interpolated_time(ratio), alpha, ratio * alpha};
  }

  /// Returns whether every step lowers the noise, the last one excepted. Multistep solvers divide by the
  /// previous drop.
  bool strictly_falling() const {
    for (size_t i = 1; i + 1 < levels_.size(); ++i)
      if (!(levels_[i - 1].sigma * levels_[i].alpha > levels_[i].sigma * levels_[i - 1].alpha)) return false;
    return true;
  }

  /// Returns `position` clamped to the grid.
  int clamp(int position) const { return std::clamp(position, 0, steps()); }

 private:
  double interpolated_time(double ratio) const {
    size_t next = 0;  // the first level that is no noisier
    while (next < levels_.size() && levels_[next].sigma > ratio * levels_[next].alpha) ++next;
    if (next == levels_.size()) return levels_.back().model_time;
    if (next == 0) return levels_.front().model_time;
    const Level &high = levels_[next - 1], &low = levels_[next];
    if (low.sigma == 0.0 || high.alpha == 0.0) return low.sigma == 0.0 ? high.model_time : low.model_time;
    const double share = (std::log(ratio) + high.lambda()) / (high.lambda() - low.lambda());
    return high.model_time + share * (low.model_time - high.model_time);
  }

  NoiseKind kind_;
  std::vector<Level> levels_;
  std::vector<Level> landings_;
  double train_steps_;
  double initial_scale_;
  std::function<double(double)> time_of_ = nullptr;
};

}  // namespace glint
