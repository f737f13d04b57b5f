// What a network predicts, and the exact conversions from any prediction to (x0, eps) and to the next latent.
#pragma once

#include <glint/core/error.hpp>
#include <glint/core/level.hpp>
#include <glint/core/tensor.hpp>

#include <string_view>

namespace glint {

/// What a network's raw output stands for, with x = alpha x0 + sigma eps.
enum class Parameterization {
  Epsilon,  ///< the noise eps
  V,        ///< alpha eps - sigma x0
  X0,       ///< the data x0
  Velocity  ///< eps - x0, the derivative in sigma of a straight flow path
};

template <>
struct EnumNames<Parameterization> {
  static constexpr std::array<std::string_view, 4> values{"epsilon", "v", "x0", "velocity"};
};

/// The coefficients of `value = of_x * x + of_output * output`. Every conversion and every first-order update
/// has this form, so conversions compose in double precision and touch the tensors once.
struct Affine {
  double of_x = 0.0;
  double of_output = 0.0;

  at::Tensor operator()(const at::Tensor& x, const at::Tensor& output) const {
    if (of_x == 0.0) return output.mul(of_output);
    if (of_x == 1.0) return x.add(output, of_output);  // every Euler step of a flow model
    return x.mul(of_x).add_(output, of_output);
  }
  friend Affine operator*(double s, Affine a) { return {s * a.of_x, s * a.of_output}; }
  friend Affine operator+(Affine a, Affine b) { return {a.of_x + b.of_x, a.of_output + b.of_output}; }
  friend Affine operator-(Affine a, Affine b) { return {a.of_x - b.of_x, a.of_output - b.of_output}; }
};

/// Returns x0 as a combination of x (at `level`) and the raw output.
/// Errors: Numerical for epsilon where there is no signal (alpha = 0): x0 is undetermined.
inline Affine denoised_from(Parameterization p, const Level& level) {
  const double a = level.alpha, s = level.sigma;
  switch (p) {
    case Parameterization::Epsilon:
      GLINT_CHECK(a > 0.0, Numerical,
                  "epsilon prediction: x0 is undetermined at a level without signal (alpha = 0); "
                  "use a v or x0 model, or a schedule whose first level has alpha > 0");
      return {1.0 / a, -s / a};
    case Parameterization::V: return {a / (a * a + s * s), -s / (a * a + s * s)};
    case Parameterization::X0: return {0.0, 1.0};
    case Parameterization::Velocity: return {1.0 / (a + s), -s / (a + s)};
  }
  fail(ErrorCode::Internal, "parameterization: unknown value {}", static_cast<int>(p));
}

/// Returns eps as a combination of x (at `level`) and the raw output.
/// Errors: Numerical for x0 where there is no noise (sigma = 0): eps is undetermined.
inline Affine epsilon_from(Parameterization p, const Level& level) {
  const double a = level.alpha, s = level.sigma;
  switch (p) {
    case Parameterization::Epsilon: return {0.0, 1.0};
    case Parameterization::V: return {s / (a * a + s * s), a / (a * a + s * s)};
    case Parameterization::X0:
      GLINT_CHECK(s > 0.0, Numerical,
                  "x0 prediction: eps is undetermined at a level without noise (sigma = 0); "
                  "do not invert from the last level");
      return {1.0 / s, -a / s};
    case Parameterization::Velocity: return {1.0 / (a + s), a / (a + s)};
  }
  fail(ErrorCode::Internal, "parameterization: unknown value {}", static_cast<int>(p));
}

/// Returns the first-order update x_to = alpha_to x0 + sigma_to eps as a combination of x (at `from`) and the
/// raw output: the DDIM step for VP, the Euler step for flow, and the inversion of either when `to` is
/// noisier.
/// Source:  Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, Eq. 12 with eta = 0.
inline Affine move_coefficients(Parameterization p, const Level& from, const Level& to) {
  if (from.alpha == to.alpha && from.sigma == to.sigma) return {1.0, 0.0};
  if (to.sigma == 0.0) return to.alpha * denoised_from(p, from);
  if (to.alpha == 0.0) return to.sigma * epsilon_from(p, from);
  // Written in terms of the coefficient of x, so that constant predictions cancel exactly.
  switch (p) {
    case Parameterization::Epsilon:
      denoised_from(p, from);  // for its check
      return {to.alpha / from.alpha, to.sigma - from.sigma * (to.alpha / from.alpha)};
    case Parameterization::X0:
      epsilon_from(p, from);  // for its check
      return {to.sigma / from.sigma, to.alpha - from.alpha * (to.sigma / from.sigma)};
    default: return to.alpha * denoised_from(p, from) + to.sigma * epsilon_from(p, from);
  }
}

/// Returns x moved from one level to another along a prediction, in either direction. With the same
/// prediction, move(b, a) undoes move(a, b) up to rounding.
/// Shapes:  x and output share one shape; returns that shape.   Cost: two passes, one allocation.
/// Errors:  Numerical where the conversion is singular (see denoised_from, epsilon_from).
inline at::Tensor move(const at::Tensor& x, const at::Tensor& output, Parameterization p, const Level& from,
                       const Level& to) {
  return move_coefficients(p, from, to)(x, output);
}

}  // namespace glint
