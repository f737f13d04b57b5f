// One noise level: (alpha, sigma) in x = alpha x0 + sigma eps, and the time the network is conditioned on.
#pragma once

#include <glint/core/enum_names.hpp>

#include <array>
#include <cmath>

namespace glint {

/// How signal and noise mix: alpha^2 + sigma^2 = 1 (variance-preserving, VP) or alpha + sigma = 1 (flow).
enum class NoiseKind { VariancePreserving, Flow };

template <>
struct EnumNames<NoiseKind> {
  static constexpr std::array<std::string_view, 2> values{"vp", "flow"};
};

/// A point of the noise grid, for VP and flow models alike: x = alpha x0 + sigma eps.
struct Level {
  double model_time = 0.0;  ///< network input: a timestep in [0, train_steps), or 1000 sigma for flow
  double alpha = 1.0;       ///< coefficient of the data
  double sigma = 0.0;       ///< coefficient of the noise

  /// Noise-to-signal ratio sigma / alpha: the sigma of EDM and k-diffusion. Infinite for pure noise.
  double ratio() const { return sigma / alpha; }
  /// Half the log signal-to-noise ratio, log(alpha / sigma): the lambda of DPM-Solver.
  double lambda() const { return std::log(alpha / sigma); }
};

}  // namespace glint
