// The built-in filters: guidance in an interval, rescaled, or ramped up during the run, and predictions whose
// clean sample stays in a range.
#pragma once

#include <glint/core/clean_sample.hpp>
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
  /// Unset = no limit; pure noise has no finite sigma / alpha.
  std::optional<double> sigma_max = std::nullopt;

  static void fields(auto& visit, auto& o) {
    StepWindow::fields(visit, o.window, "first guided step", "end of guidance");
    visit("sigma_min", o.sigma_min,
          Field{.help = "guide only above this sigma / alpha; SDXL: 0.28", .minimum = 0, .maximum = 1e9});
    visit("sigma_max", o.sigma_max,
          Field{.help = "guide only up to this sigma / alpha; default: no limit; SDXL: 5.42",
                .minimum = 0,
                .maximum = 1e9});
  }
};

/// Guides only inside an interval of steps and noise levels; elsewhere returns the conditional prediction.
/// Cost:    the rule's inside the step range, 1 row outside; steps outside only by sigma still cost the
///          rule's rows.
/// Source:  Kynkaanniemi et al., "Applying Guidance in a Limited Interval", NeurIPS 2024, arXiv:2404.07724.
class Interval final : public GuidanceFilter {
 public:
  using Options = IntervalOptions;
  static constexpr EntryInfo info{.kind = "filter",
                                  .name = "interval",
                                  .summary = "guidance only inside an interval of steps or noise levels",
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
          Field{.help = "blend weight of the rescaled prediction; 0 = off", .minimum = 0, .maximum = 1});
  }
};

/// Rescales the guided prediction y to the conditional one's standard deviation and blends: phi y
/// std(c)/std(y) + (1-phi) y.
/// Source:  Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", WACV 2024,
///          arXiv:2305.08891, Sec. 3.4.
class Rescale final : public GuidanceFilter {
 public:
  using Options = RescaleOptions;
  static constexpr EntryInfo info{
      .kind = "filter",
      .name = "rescale",
      .summary = "rescales the guided prediction to the conditional one's standard deviation",
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
    visit("power", o.power,
          Field{.help = "how late guidance sets in; larger is later", .minimum = 0.01, .maximum = 100});
  }
};

/// Ramps guidance up during the run: c + f (y - c), f = (1 - cos(pi (i/N)^p)) / 2. With CFG, the scale at
/// step i is 1 + (w - 1) f: CogVideoX's schedule, whose own scale is w - 1.
/// Source:  Yang et al., "CogVideoX", ICLR 2025, arXiv:2408.06072, and its diffusers pipeline.
class Dynamic final : public GuidanceFilter {
 public:
  using Options = DynamicOptions;
  static constexpr EntryInfo info{.kind = "filter",
                                  .name = "dynamic",
                                  .summary = "guidance ramped up along a cosine during the run",
                                  .cost = "the rule's rows, including the conditional one",
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

/// Base of the filters that change the clean sample x0 which a prediction stands for. Values of x0 that stay
/// as they are leave the prediction's bits alone, and so does a level without noise, where x is x0.
class CleanSampleFilter : public GuidanceFilter {
 public:
  BranchSet branches(BranchSet inner, const StepPosition&) const final { return inner; }
  at::Tensor apply(const Guided& guided, const BranchOutputs&, const GuidanceStep& step) const final {
    const at::Tensor output = guided();
    const Affine clean = denoised_from(step.parameterization, step.level);
    if (clean.of_output == 0.0) return output;
    const at::Tensor x0 = clean(step.x, output);
    return output.add(changed(x0).sub(x0), 1.0 / clean.of_output);
  }

 private:
  virtual at::Tensor changed(const at::Tensor& x0) const = 0;
};

struct ClipOptions {
  double range = 1.0;
  static void fields(auto& visit, auto& o) {
    visit("range", o.range, Field{.help = "largest magnitude of x0", .minimum = 1e-6, .maximum = 1e9});
  }
};

/// Clips x0 to [-range, range]: diffusers' clip_sample, in solvers that take eps from the clipped x0.
/// Source:  Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020, arXiv:2006.11239 (code).
class Clip final : public CleanSampleFilter {
 public:
  using Options = ClipOptions;
  static constexpr EntryInfo info{.kind = "filter",
                                  .name = "clip",
                                  .summary = "clips the clean sample that a prediction stands for",
                                  .cost = "the rule's rows",
                                  .source = "Ho et al. 2020, NeurIPS, arXiv:2006.11239"};

  explicit Clip(ClipOptions options = {}) : options_(options) { check_ranges(info.name, options); }

 private:
  at::Tensor changed(const at::Tensor& x0) const override { return clipped(x0, options_.range); }

  ClipOptions options_;
};

/// Dynamic thresholding of x0 (see thresholded): diffusers' `thresholding`.
/// Source:  Saharia et al. 2022, NeurIPS, arXiv:2205.11487, Sec. 2.3.
class Threshold final : public CleanSampleFilter {
 public:
  using Options = ThresholdOptions;
  static constexpr EntryInfo info{
      .kind = "filter",
      .name = "threshold",
      .summary = "dynamic thresholding: clips the clean sample at a quantile of its values and scales it",
      .cost = "the rule's rows",
      .source = "Saharia et al. 2022, NeurIPS, arXiv:2205.11487, 2.3"};

  explicit Threshold(ThresholdOptions options = {}) : options_(options) { check_ranges(info.name, options); }

 private:
  at::Tensor changed(const at::Tensor& x0) const override { return thresholded(x0, options_); }

  ThresholdOptions options_;
};

}  // namespace glint
