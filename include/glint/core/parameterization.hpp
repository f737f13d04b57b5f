// What a network predicts, and the exact way from any prediction to the pair (x0, eps) and to the next
// latent.
#pragma once

#include <glint/core/error.hpp>
#include <glint/core/level.hpp>
#include <glint/core/tensor.hpp>

#include <string_view>

namespace glint {

/// Meaning of a network's raw output for x = alpha x0 + sigma eps.
enum class Parameterization {
  Epsilon,  ///< the noise eps
  V,        ///< alpha eps - sigma x0
  X0,       ///< the data x0
  Velocity  ///< eps - x0, the derivative of a straight flow path in sigma
};

template <>
struct EnumNames<Parameterization> {
  static constexpr std::array<std::string_view, 4> values{"epsilon", "v", "x0", "velocity"};
};

/// The scalars of `value = of_x * x + of_output * output`. Every conversion and every first-order update is
/// one such combination, so conversions compose in double precision and tensors are touched once.
struct Affine {
  double of_x = 0.0;
  double of_output = 0.0;

  at::Tensor operator()(const at::Tensor& x, const at::Tensor& output) const {
    if (of_x == 0.0) return output.mul(of_output);
    if (of_x == 1.0) return x.add(output, of_output);  // every Euler step of a flow
    return x.mul(of_x).add_(output, of_output);
  }
  friend Affine operator*(double s, Affine a) { return {s * a.of_x, s * a.of_output}; }
  friend Affine operator+(Affine a, Affine b) { return {a.of_x + b.of_x, a.of_output + b.of_output}; }
  friend Affine operator-(Affine a, Affine b) { return {a.of_x - b.of_x, a.of_output - b.of_output}; }
};

/// Returns x0 as a combination of x (at `level`) and the raw output.
/// Errors: Numerical for epsilon at a level without signal (alpha = 0), where x0 is not determined.
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
/// Errors: Numerical for x0 at a level without noise (sigma = 0), where eps is not determined.
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

/// Returns the first-order update from one level to another, x_to = alpha_to x0 + sigma_to eps, as a
/// combination of x (at `from`) and the raw output. It is the DDIM step for VP, the Euler step for flow, and
/// the inversion of both when `to` is the noisier level.
/// Source:  Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, Eq. 12 with eta = 0.
inline Affine move_coefficients(Parameterization p, const Level& from, const Level& to) {
  if (from.alpha == to.alpha && from.sigma == to.sigma) return {1.0, 0.0};
  if (to.sigma == 0.0) return to.alpha * denoised_from(p, from);
  if (to.alpha == 0.0) return to.sigma * epsilon_from(p, from);
  // Written through the coefficient of x, so that constant predictions cancel.
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

/// Returns x carried from one level to another along a prediction, in either direction. With the same
/// prediction move(b, a) undoes move(a, b) to rounding.
/// Shapes:  x, output of one shape; returns that shape.   Cost: two passes, one allocation.
/// Errors:  Numerical where the conversion is singular (see denoised_from, epsilon_from).
inline at::Tensor move(const at::Tensor& x, const at::Tensor& output, Parameterization p, const Level& from,
                       const Level& to) {
  return move_coefficients(p, from, to)(x, output);
}

}  // namespace glint
