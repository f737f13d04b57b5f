// Options of a noise grid; schedule_vp.hpp and schedule_flow.hpp build it.
#pragma once

#include <glint/core/nearest.hpp>
#include <glint/core/number_list.hpp>
#include <glint/core/options.hpp>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace glint {

/// How the training betas of a variance-preserving (VP) model grow.
enum class Betas { ScaledLinear, Linear, SquaredCosine };
template <>
struct EnumNames<Betas> {
  static constexpr std::array<std::string_view, 3> values{"scaled_linear", "linear", "squaredcos_cap_v2"};
};

/// Which training timesteps a grid of N steps visits. `Simple` is ComfyUI's: train_steps - 1 - floor(i
/// train_steps / N).
enum class Spacing { Leading, Trailing, Linspace, Simple };
template <>
struct EnumNames<Spacing> {
  static constexpr std::array<std::string_view, 4> values{"leading", "trailing", "linspace", "simple"};
};

/// How sigma/alpha (sigma in flows) is spaced between its endpoints.
enum class Sigmas {
  Model,        ///< the training schedule's values at the chosen timesteps
  Karras,       ///< uniform in (sigma/alpha)^(1/rho)
  Exponential,  ///< uniform in log(sigma/alpha)
  Lu,           ///< as Exponential; multistep solvers round timesteps instead of truncating them
  Beta,         ///< quantiles of the Beta(0.6, 0.6) distribution: dense at both ends
  KlOptimal,    ///< uniform in atan(sigma/alpha)
  AysSd,        ///< Align Your Steps for Stable Diffusion 1.5, interpolated in the logarithm
  AysSdxl,      ///< Align Your Steps for SDXL
  AysSvd        ///< Align Your Steps for Stable Video Diffusion
};
template <>
struct EnumNames<Sigmas> {
  static constexpr std::array<std::string_view, 9> values{
      "model", "karras", "exponential", "lu", "beta", "kl_optimal", "ays_sd", "ays_sdxl", "ays_svd"};
};

/// A spacing by name, or the levels themselves.
struct SigmaSpacing {
  Sigmas named = Sigmas::Model;
  std::vector<double> own = {};  ///< noisiest first, positive, without a final 0; empty = `named`

  SigmaSpacing(Sigmas spacing = Sigmas::Model) : named(spacing) {}
  explicit SigmaSpacing(std::vector<double> levels) : own(std::move(levels)) {}

  /// Reads a name, or levels such as 14.6+4.9+1.5+0.4; a final 0, which every grid ends with, may be given.
  /// Errors: InvalidArgument, naming `argument`.
  static SigmaSpacing from_text(std::string_view argument, const std::string& text) {
    if (const auto found = enum_value<Sigmas>(text)) return *found;
    const auto& names = EnumNames<Sigmas>::values;
    GLINT_CHECK(!text.empty() && (text.front() == '.' || (text.front() >= '0' && text.front() <= '9')),
                InvalidArgument, "{}: expected one of {} or levels such as 14.6+4.9+1.5, got '{}'{}",
                argument, joined_text(names, ", "), text, did_you_mean(text, names));
    std::vector<double> levels = parse_numbers(argument, text);
    if (levels.size() > 1 && levels.back() == 0.0) levels.pop_back();
    return SigmaSpacing(std::move(levels));
  }

  bool is(Sigmas spacing) const { return own.empty() && named == spacing; }
  /// Whether the levels are spread between two ends that the run may choose.
  bool has_ends() const { return own.empty() && named != Sigmas::Model && named < Sigmas::AysSd; }
  std::string text() const { return own.empty() ? std::string(enum_name(named)) : joined_text(own, "+"); }
};

/// Where a grid ends: at zero noise, or at the smallest training sigma.
enum class Terminal { Zero, SigmaMin };
template <>
struct EnumNames<Terminal> {
  static constexpr std::array<std::string_view, 2> values{"zero", "sigma_min"};
};

/// The alpha_bar a DDIM grid ends at: that of the first training timestep, or 1.
enum class FinalAlpha { First, One };
template <>
struct EnumNames<FinalAlpha> {
  static constexpr std::array<std::string_view, 2> values{"first", "one"};
};

/// How a variance-preserving model was trained. A property of the model.
struct VpTraining {
  Betas betas = Betas::ScaledLinear;
  double beta_start = 0.00085;
  double beta_end = 0.012;
  int train_steps = 1000;
  bool zero_terminal_snr = false;  ///< rescale so that the last training level has no signal
  FinalAlpha final_alpha = FinalAlpha::First;
};

/// What a dynamic shift makes of mu: a static shift of e^mu or of mu itself.
enum class TimeShift { Exponential, Linear };
template <>
struct EnumNames<TimeShift> {
  static constexpr std::array<std::string_view, 2> values{"exponential", "linear"};
};

/// FLUX's resolution-dependent shift; mu is linear in the number of image tokens.
struct DynamicShift {
  double base_shift = 0.5, max_shift = 1.15;
  double base_tokens = 256.0, max_tokens = 4096.0;
  TimeShift form = TimeShift::Exponential;

  /// Returns mu for `tokens` image tokens. With FLUX's values, mu(1024) = 0.63 and mu(4096) = 1.15.
  double mu(double tokens) const {
    // Rounded as diffusers rounds it: model times depend on the last bit.
    const double slope = (max_shift - base_shift) / (max_tokens - base_tokens);
    return tokens * slope + (base_shift - slope * base_tokens);
  }
};

/// Where the unshifted sigmas of an N-step flow grid end: at 1/N (FLUX's pipeline) or at the smallest
/// training sigma (SD3's).
enum class FlowSpacing { PerStep, Training };
template <>
struct EnumNames<FlowSpacing> {
  static constexpr std::array<std::string_view, 2> values{"per_step", "training"};
};

/// How a flow model was trained. A property of the model.
struct FlowTraining {
  FlowSpacing spacing = FlowSpacing::PerStep;
  int train_steps = 1000;
  double shift = 1.0;                         ///< static shift s: sigma <- s sigma / (1 + (s - 1) sigma)
  std::optional<DynamicShift> dynamic = {};   ///< replaces the static shift
  std::optional<double> shift_terminal = {};  ///< stretches the grid to make this its last sigma before 0
};

/// Where one run places its levels. A property of the run; defaults come from the model.
struct GridOptions {
  int steps = 20;
  Spacing spacing = Spacing::Leading;
  int steps_offset = 1;  ///< added to timesteps with leading spacing
  SigmaSpacing sigmas = {};
  double rho = 7.0;  ///< exponent of Sigmas::Karras
  Terminal terminal = Terminal::Zero;
  /// Ends of the levels that `sigmas` spreads, as sigma/alpha (flow-euler: as sigma); default: the model's.
  std::optional<double> sigma_min = std::nullopt, sigma_max = std::nullopt;
  std::optional<double> shift = std::nullopt;  ///< flow: overrides the model's static shift
  double tokens = 0.0;                         ///< flow: number of image tokens, for a dynamic shift

  static void fields(auto& visit, auto& o) {
    visit("spacing", o.spacing,
          Field{.help = "which training timesteps to visit (variance-preserving models)"});
    visit("steps_offset", o.steps_offset,
          Field{.help = "added to timesteps with leading spacing", .minimum = 0, .maximum = 1000});
    visit("sigmas", o.sigmas,
          Field{.help = "how the noise levels are spaced; or the levels, sigma/alpha (flows: sigma), as in "
                        "14.6+4.9+1.5+0.4"});
    visit("rho", o.rho, Field{.help = "exponent for sigmas=karras", .minimum = 0.1, .maximum = 100});
    visit("terminal", o.terminal, Field{.help = "where the grid ends"});
    visit("sigma_min", o.sigma_min,
          Field{.help = "least level of karras, exponential, lu, beta and kl_optimal sigmas; default: the "
                        "model's",
                .minimum = 1e-6,
                .maximum = 1e6});
    visit("sigma_max", o.sigma_max,
          Field{.help = "largest level of karras, exponential, lu, beta and kl_optimal sigmas; default: the "
                        "model's",
                .minimum = 1e-6,
                .maximum = 1e6});
    visit(
        "shift", o.shift,
        Field{.help = "static shift of a flow grid; default: the model's", .minimum = 0.01, .maximum = 1000});
  }
};

}  // namespace glint
