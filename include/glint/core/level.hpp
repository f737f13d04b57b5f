// One noise level: the pair (alpha, sigma) of x = alpha x0 + sigma eps, and the time label the network is
// given.
#pragma once

#include <glint/core/enum_names.hpp>

#include <array>
#include <cmath>

namespace glint {

/// How signal and noise share a latent: alpha^2 + sigma^2 = 1 (VP), or alpha + sigma = 1 (flow).
enum class NoiseKind { VariancePreserving, Flow };

template <>
struct EnumNames<NoiseKind> {
  static constexpr std::array<std::string_view, 2> values{"vp", "flow"};
};

/// A point of the noise grid. x = alpha x0 + sigma eps, for VP and flow models alike.
struct Level {
  double model_time =
      0.0;             ///< what the network is told: a timestep in [0, train_steps), or 1000 sigma for flow
  double alpha = 1.0;  ///< share of the data
  double sigma = 0.0;  ///< share of the noise

  /// Noise-to-signal ratio sigma / alpha: the sigma of EDM and k-diffusion. Infinite for pure noise.
  double ratio() const { return sigma / alpha; }
  /// Half the log signal-to-noise ratio, log(alpha / sigma): the lambda of DPM-Solver.
  double lambda() const { return std::log(alpha / sigma); }
};

}  // namespace glint
