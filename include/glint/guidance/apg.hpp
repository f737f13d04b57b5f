// Adaptive projected guidance (APG): weakens the part of the update that only lengthens the prediction.
#pragma once

#include <glint/guidance/difference_rule.hpp>

#include <utility>

namespace glint {

/// The space in which APG projects.
enum class ApgSpace { X0, Raw };
template <>
struct EnumNames<ApgSpace> {
  static constexpr std::array<std::string_view, 2> values{"x0", "raw"};
};

/// Which prediction guidance starts from: the conditional one (paper) or the unconditional one (diffusers).
enum class ApgForm { Paper, Diffusers };
template <>
struct EnumNames<ApgForm> {
  static constexpr std::array<std::string_view, 2> values{"paper", "diffusers"};
};

struct ApgOptions {
  double scale = 7.5;
  double eta = 1.0;
  double threshold = 15.0;
  double momentum = 0.0;
  int warmup_steps = 0;
  double warmup_scale = 3.5;
  ApgSpace space = ApgSpace::X0;
  ApgForm form = ApgForm::Paper;

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale, kScaleField);
    visit("eta", o.eta,
          Field{.help = "weight of the component parallel to the prediction", .minimum = -10, .maximum = 10});
    visit("threshold", o.threshold,
          Field{.help = "maximum norm of the difference; 0 = no limit", .minimum = 0, .maximum = 1e9});
    visit("momentum", o.momentum,
          Field{.help = "momentum of the running difference, usually negative; 0 = off",
                .minimum = -0.99,
                .maximum = 0.99});
    visit("warmup_steps", o.warmup_steps,
          Field{.help = "initial steps with plain CFG; they still feed the momentum",
                .minimum = 0,
                .maximum = 100000,
                .unit = "steps"});
    visit("warmup_scale", o.warmup_scale,
          Field{.help = "guidance scale of the warm-up steps", .minimum = -100, .maximum = 1000});
    visit("space", o.space, Field{.help = "project denoised predictions (x0) or raw outputs"});
    visit("form", o.form, Field{.help = "c + (w-1) n (paper), or u + w n (diffusers)"});
  }
};

/// Predicts c + (w - 1) n, where n is the difference c - u with momentum, clipped to a maximum norm, its
/// component parallel to c scaled by eta. HunyuanImage-2.1's "APG-mix": scale=10, eta=0, threshold=10,
/// momentum=-0.5, warmup_steps=6.
/// Cost:    2 rows per sample and step.
/// Source:  Sadat et al., "Eliminating Oversaturation and Artifacts of High Guidance Scales in Diffusion
///          Models", ICLR 2025, arXiv:2410.02416, Alg. 1.
class Apg final : public DifferenceRule {
 public:
  using Options = ApgOptions;
  static constexpr EntryInfo info{
      .kind = "rule",
      .name = "apg",
      .summary = "guidance minus the component that only lengthens the prediction",
      .cost = "2 N rows",
      .source = "Sadat et al. 2025, ICLR, arXiv:2410.02416, Alg. 1"};

  explicit Apg(ApgOptions options = {}) : options_(options) { check_ranges(info.name, options); }

  std::unique_ptr<GuidanceState> begin() const override { return std::make_unique<State>(); }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep& step, GuidanceState* state) const override {
    const bool warming = step.position.step < options_.warmup_steps;
    const auto predicted = [&](const at::Tensor& c, const at::Tensor& u) {
      const at::Tensor n = remembered(c, u, state);
      return warming ? at::lerp(u, c, options_.warmup_scale) : guided(c, u, n);
    };
    const Affine to_x0 = denoised_from(step.parameterization, step.level);
    if (options_.space == ApgSpace::Raw || to_x0.of_output == 0.0) return predicted(o.cond, o.uncond);
    const at::Tensor x0 = predicted(to_x0(step.x, o.cond), to_x0(step.x, o.uncond));
    return Affine{-to_x0.of_x / to_x0.of_output, 1.0 / to_x0.of_output}(step.x, x0);
  }

 private:
  struct State : GuidanceState {
    at::Tensor average;
  };

  /// Returns the difference with momentum applied.
  at::Tensor remembered(const at::Tensor& c, const at::Tensor& u, GuidanceState* state) const {
    at::Tensor n = c.sub(u);
    if (options_.momentum == 0.0) return n;
    at::Tensor& average = static_cast<State*>(state)->average;
    if (average.defined()) n.add_(average, options_.momentum);
    return average = n;
  }

  at::Tensor guided(const at::Tensor& c, const at::Tensor& u, at::Tensor n) const {
    if (options_.threshold > 0.0) {
      const at::Tensor limit = per_sample::norm(n).clamp_min(1e-30).reciprocal().mul(options_.threshold);
      n = per_sample::scaled(n, limit.clamp_max(1.0));
    }
    if (options_.eta != 1.0) {
      const at::Tensor along = per_sample::ratio(per_sample::dot(n, c), per_sample::dot(c, c), 0.0);
      n = n.add(per_sample::scaled(c, along), options_.eta - 1.0);
    }
    return options_.form == ApgForm::Paper ? c.add(n, options_.scale - 1.0) : u.add(n, options_.scale);
  }

  ApgOptions options_;
};

}  // namespace glint
