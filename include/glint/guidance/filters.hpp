// The filters that ship: guidance in an interval, with a rescaled output, or setting in late.
#pragma once

#include <glint/core/options.hpp>
#include <glint/core/step_window.hpp>
#include <glint/guidance/guidance_filter.hpp>
#include <glint/guidance/per_sample.hpp>

#include <numbers>
#include <optional>

namespace glint {

struct IntervalOptions {
  StepWindow window = {};
  double sigma_min = 0.0;
  /// Unset = no limit: pure noise has no finite sigma / alpha.
  std::optional<double> sigma_max = std::nullopt;

  static void fields(auto& visit, auto& o) {
    visit("start", o.window.start,
          Field{.help = "first guided step", .minimum = 0, .maximum = 1, .unit = "fraction of steps"});
    visit("stop", o.window.stop,
          Field{.help = "end of the guided steps", .minimum = 0, .maximum = 1, .unit = "fraction of steps"});
    visit("sigma_min", o.sigma_min,
          Field{.help = "guide only above this sigma / alpha; SDXL 0.28", .minimum = 0, .maximum = 1e9});
    visit("sigma_max", o.sigma_max,
          Field{.help = "guide only up to this sigma / alpha; unset = no limit; SDXL 5.42",
                .minimum = 0,
                .maximum = 1e9});
  }
};

/// The prompt's prediction outside an interval of steps, or of noise levels.
/// Cost:    the rule's inside the steps, 1 row outside; a step whose sigma is outside still costs the rule's
///          rows.
/// Source:  Kynkaanniemi et al., "Applying Guidance in a Limited Interval", NeurIPS 2024, arXiv:2404.07724.
class Interval final : public GuidanceFilter {
 public:
  using Options = IntervalOptions;
  static constexpr EntryInfo info{.kind = "filter",
                                  .name = "interval",
                                  .summary = "guidance in an interval of steps or noise levels only",
                                  .cost = "1 row instead of the rule's on steps outside",
                                  .source = "Kynkaanniemi et al. 2024, NeurIPS, arXiv:2404.07724"};

  explicit Interval(IntervalOptions options = {}) : options_(options) { check_ranges(info.name, options); }

  BranchSet branches(BranchSet inner, const StepPosition& position) const override {
    return inside(position) ? GuidanceFilter::branches(inner, position) : BranchSet{.cond = true};
  }
  at::Tensor apply(const Guided& guided, const BranchOutputs& o, const GuidanceStep& step) const override {
    const double ratio = step.level.ratio();
    const bool guides = inside(step.position) && ratio > options_.sigma_min &&
                        !(options_.sigma_max && ratio > *options_.sigma_max);
    return guides ? guided() : o.cond;
  }

 private:
  bool inside(const StepPosition& p) const { return options_.window.contains(p.step, p.steps); }

  IntervalOptions options_;
};

struct RescaleOptions {
  double phi = 0.7;
  static void fields(auto& visit, auto& o) {
    visit("phi", o.phi,
          Field{.help = "share of the rescaled prediction; 0 is off", .minimum = 0, .maximum = 1});
  }
};

/// The guided prediction y with the standard deviation of the conditional one, blended: phi y std(c)/std(y) +
/// (1-phi) y.
/// Source:  Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", WACV 2024,
///          arXiv:2305.08891, 3.4.
class Rescale final : public GuidanceFilter {
 public:
  using Options = RescaleOptions;
  static constexpr EntryInfo info{.kind = "filter",
                                  .name = "rescale",
                                  .summary = "the guided prediction with the spread of the conditional one",
                                  .cost = "the rule's rows, with the prompt's",
                                  .source = "Lin et al. 2024, WACV, arXiv:2305.08891, 3.4"};

  explicit Rescale(RescaleOptions options = {}) : options_(options) { check_ranges(info.name, options); }
  at::Tensor apply(const Guided& guided, const BranchOutputs& o, const GuidanceStep&) const override {
    const at::Tensor y = guided();
    if (options_.phi == 0.0) return y;
    const at::Tensor wanted = o.cond.flatten(1).std(1), got = y.flatten(1).std(1);
    return per_sample::scaled(y,
                              per_sample::ratio(wanted, got, 1.0).mul(options_.phi).add(1.0 - options_.phi));
  }

 private:
  RescaleOptions options_;
};

struct DynamicOptions {
  double power = 5.0;
  static void fields(auto& visit, auto& o) {
    visit("power", o.power, Field{.help = "how late guidance sets in", .minimum = 0.01, .maximum = 100});
  }
};

/// Guidance that sets in during the run: c + f (y - c), f = (1 - cos(pi (i/N)^p)) / 2. With CFG the scale at
/// step i is 1 + (w - 1) f, CogVideoX's schedule with its scale being w - 1.
/// Source:  Yang et al., "CogVideoX", ICLR 2025, arXiv:2408.06072, and its diffusers pipeline.
class Dynamic final : public GuidanceFilter {
 public:
  using Options = DynamicOptions;
  static constexpr EntryInfo info{.kind = "filter",
                                  .name = "dynamic",
                                  .summary = "guidance that grows during the run along a cosine",
                                  .cost = "the rule's rows, with the prompt's",
                                  .source = "Yang et al. 2025, ICLR, arXiv:2408.06072"};

  explicit Dynamic(DynamicOptions options = {}) : options_(options) { check_ranges(info.name, options); }
  at::Tensor apply(const Guided& guided, const BranchOutputs& o, const GuidanceStep& step) const override {
    const double position = static_cast<double>(step.position.step) / step.position.steps;
    const double share = (1.0 - std::cos(std::numbers::pi * std::pow(position, options_.power))) / 2.0;
    return at::lerp(o.cond, guided(), share);
  }

 private:
  DynamicOptions options_;
};

}  // namespace glint
