// What the solvers in log-SNR share besides DPM-Solver++'s own: a grid that starts with some signal, and the
// exponential integrators' functions.
#pragma once

#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/heun.hpp>

namespace glint {

/// Base of the solvers in log-SNR without a diffusers scheduler of their own: Euler's grid, which for a flow
/// begins at sigma = 1 - 1/train_steps, where log-SNR is finite.
class OnLogSnrGrid : public Solver {
 public:
  NoiseSchedule schedule(const VpTraining& training, const GridOptions& grid) const override {
    return vp_schedule(training, grid);
  }
  NoiseSchedule schedule(const FlowTraining& training, const GridOptions& grid) const override {
    return flow_multistep_schedule(training, grid, detail::FlowTimes::Exact);
  }

 protected:
  /// Throws InvalidArgument unless log-SNR is finite and rises at every step.
  static void check_log_snr(std::string_view solver, const NoiseSchedule& schedule) {
    detail::check_signal(solver, schedule);
    detail::check_multistep(solver, schedule);
  }
};

namespace detail {

/// phi_1(z) = (e^z - 1) / z and phi_2(z) = (phi_1(z) - 1) / z of exponential integrators, z < 0.
inline double phi1(double z) { return std::expm1(z) / z; }
inline double phi2(double z) {
  // The subtraction loses digits near 0.
  if (std::abs(z) < 1e-3) return 0.5 + z / 6.0 + z * z / 24.0;
  return (phi1(z) - 1.0) / z;
}

/// Returns lambda_a - lambda_b at two grid positions.
inline double log_snr_between(const NoiseSchedule& schedule, int a, int b) {
  return schedule.level(a).lambda() - schedule.level(b).lambda();
}

}  // namespace detail

}  // namespace glint
