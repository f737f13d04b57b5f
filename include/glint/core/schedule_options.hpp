// How a grid of noise levels is asked for. schedule_vp.hpp and schedule_flow.hpp build it.
#pragma once

#include <glint/core/options.hpp>

#include <array>
#include <optional>
#include <string_view>
#include <vector>

namespace glint {

/// How the training betas of a variance-preserving model grow.
enum class Betas { ScaledLinear, Linear, SquaredCosine };
template <>
struct EnumNames<Betas> {
  static constexpr std::array<std::string_view, 3> values{"scaled_linear", "linear", "squaredcos_cap_v2"};
};

/// Which training timesteps a grid of N steps takes.
enum class Spacing { Leading, Trailing, Linspace };
template <>
struct EnumNames<Spacing> {
  static constexpr std::array<std::string_view, 3> values{"leading", "trailing", "linspace"};
};

/// How sigma/alpha is spread between its ends.
enum class Sigmas {
  Model,       ///< as the training schedule has them at the chosen timesteps
  Karras,      ///< evenly in (sigma/alpha)^(1/rho)
  Exponential  ///< evenly in log(sigma/alpha)
};
template <>
struct EnumNames<Sigmas> {
  static constexpr std::array<std::string_view, 3> values{"model", "karras", "exponential"};
};

/// Where the terminal level of a grid lies.
enum class Terminal { Zero, SigmaMin };
template <>
struct EnumNames<Terminal> {
  static constexpr std::array<std::string_view, 2> values{"zero", "sigma_min"};
};

/// The alpha_bar a DDIM grid ends at: 1, or that of the first training timestep.
enum class FinalAlpha { First, One };
template <>
struct EnumNames<FinalAlpha> {
  static constexpr std::array<std::string_view, 2> values{"first", "one"};
};

/// What a variance-preserving model was trained with. Belongs to the model.
struct VpTraining {
  Betas betas = Betas::ScaledLinear;
  double beta_start = 0.00085;
  double beta_end = 0.012;
  int train_steps = 1000;
  bool zero_terminal_snr = false;  ///< rescaled so that the last training level has no signal
  FinalAlpha final_alpha = FinalAlpha::First;
};

/// FLUX's resolution-dependent shift: mu is linear in the number of image tokens.
struct DynamicShift {
  double base_shift = 0.5, max_shift = 1.15;
  double base_tokens = 256.0, max_tokens = 4096.0;

  /// Returns mu for an image of `tokens` tokens. mu(1024) = 0.63, mu(4096) = 1.15 with FLUX's values.
  double mu(double tokens) const {
    const double slope = (max_shift - base_shift) / (max_tokens - base_tokens);
    return base_shift + slope * (tokens - base_tokens);
  }
};

/// Where the unshifted sigmas of a flow grid of N steps end: at 1/N, as FLUX's pipeline hands them to its
/// solver, or at the smallest one trained on, as SD3's does.
enum class FlowSpacing { PerStep, Training };
template <>
struct EnumNames<FlowSpacing> {
  static constexpr std::array<std::string_view, 2> values{"per_step", "training"};
};

/// What a flow model was trained with. Belongs to the model.
struct FlowTraining {
  FlowSpacing spacing = FlowSpacing::PerStep;
  int train_steps = 1000;
  double shift = 1.0;                         ///< static shift s: sigma <- s sigma / (1 + (s - 1) sigma)
  std::optional<DynamicShift> dynamic = {};   ///< replaces the static shift
  std::optional<double> shift_terminal = {};  ///< stretches the grid so that its last sigma before 0 is this
};

/// How one run places its levels. Belongs to the run; defaults are the model's.
struct GridOptions {
  int steps = 20;
  Spacing spacing = Spacing::Leading;
  int steps_offset = 1;  ///< added to the timesteps of leading spacing
  Sigmas sigmas = Sigmas::Model;
  double rho = 7.0;  ///< of Sigmas::Karras
  Terminal terminal = Terminal::Zero;
  std::optional<double> shift = std::nullopt;  ///< flow: replaces the model's static shift
  double tokens = 0.0;                         ///< flow: image tokens, for a dynamic shift

  static void fields(auto& visit, auto& o) {
    visit("spacing", o.spacing,
          Field{.help = "which training timesteps the grid takes (variance-preserving models)"});
    visit("steps_offset", o.steps_offset,
          Field{.help = "added to the timesteps of leading spacing", .minimum = 0, .maximum = 1000});
    visit("sigmas", o.sigmas, Field{.help = "how the noise levels are spread"});
    visit("rho", o.rho, Field{.help = "exponent of sigmas=karras", .minimum = 0.1, .maximum = 100});
    visit("terminal", o.terminal, Field{.help = "where the grid ends"});
    visit(
        "shift", o.shift,
        Field{.help = "static shift of a flow grid; unset = the model's", .minimum = 0.01, .maximum = 1000});
  }
};

}  // namespace glint
