// Noise optimization: gradient descent on the initial noise towards inversion stability.
#pragma once

#include <glint/noise/stability.hpp>

#ifndef GLINT_CORE_ONLY
#include <glint/core/host_macros_off.hpp>

#include <ATen/core/grad_mode.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <glint/core/host_macros_on.hpp>
#endif

namespace glint {

/// How the gradient is computed.
enum class GradientSource {
  Backprop,     ///< through the model, whose backend must be differentiable
  Perturbation  ///< two evaluations along a random direction (SPSA): works on any backend, but far noisier
};
template <>
struct EnumNames<GradientSource> {
  static constexpr std::array<std::string_view, 2> values{"backprop", "perturbation"};
};

struct StabilityOptimizationOptions {
  int iterations = 100;
  double learning_rate = 100.0;
  double momentum = 0.5;
  bool keep_norm = true;
  GradientSource gradient = GradientSource::Backprop;
  RoundTripOptions trip = {};

  static void fields(auto& visit, auto& o) {
    visit("iterations", o.iterations,
          Field{.help = "gradient steps; 0 = off", .minimum = 0, .maximum = 100000});
    visit("learning_rate", o.learning_rate,
          Field{.help = "step size for the gradient of 1 - cos, which is of order 1 / |x|; 0 = off",
                .minimum = 0,
                .maximum = 1e9});
    visit("momentum", o.momentum, Field{.help = "momentum of the gradient", .minimum = 0, .maximum = 0.9999});
    visit("keep_norm", o.keep_norm, Field{.help = "rescale to the initial length after each step"});
    visit("gradient", o.gradient,
          Field{.help = "backprop through the model, or perturbation for backends without gradients"});
    RoundTripOptions::fields(visit, o.trip);
  }
};

/// Returns the noise after gradient descent with momentum on J = 1 - cos(x, F(x)), F a round trip of
/// denoising and inversion. The chain of 2 `steps` maps is differentiated map by map, recomputing each in
/// turn, so memory holds the graph of a single prediction whatever `steps` is. Reports stability_before and
/// stability_after.
/// Cost:    with R = min(steps, N): iterations (4 R forward + 2 R backward) G rows, plus 4 R G rows for the
///          reports; backward passes do not count as rows. gradient=perturbation: iterations 4 R G rows, plus
///          the reports.
/// Errors:  InvalidArgument on construction for backprop on a model without gradients, and for backprop in
///          c10::InferenceMode (which Pipeline leaves by itself).
/// Source:  Qi et al., "Not All Noises Are Created Equally", arXiv:2407.14041: 100 steps, rate 100, momentum
///          0.5. Deviation: keep_norm, since the gradient is orthogonal to x where F is homogeneous and plain
///          descent can only lengthen x.
class StabilityOptimization final : public NoiseStrategy {
 public:
  using Options = StabilityOptimizationOptions;
  static constexpr EntryInfo info{
      .kind = "noise",
      .name = "stability-optimization",
      .summary = "gradient descent on the initial noise towards inversion stability",
      .cost =
          "4 R G (iterations + 1) rows and 2 R G iterations backward passes with R = min(steps, N), plus the "
          "run's",
      .source = "Qi et al. 2024, arXiv:2407.14041"};

  explicit StabilityOptimization(StabilityOptimizationOptions options = {}) : options_(options) {
    check_ranges(info.name, options_);
  }

  std::string_view name() const override { return info.name; }

  at::Tensor refine(const at::Tensor& x, const NoiseContext& context) const override {
    if (options_.iterations == 0 || options_.learning_rate == 0.0) return x;
#ifndef GLINT_CORE_ONLY
    GLINT_CHECK(
        options_.gradient != GradientSource::Backprop || !c10::InferenceMode::is_enabled(), InvalidArgument,
        "stability-optimization.gradient: backprop is not possible in c10::InferenceMode; leave it for the "
        "call, or use gradient=perturbation");
#endif
    Run& run = context.run;
    const RoundTrip trip(options_.trip, run.schedule(), context.predictor);
    const at::Tensor length = per_sample::norm(x);
    run.report("stability_before", cosine(x, trip(run, x, trip.predictor())));
    NoiseStream directions = run.noise().fork(info.name);
    at::Tensor z = x, velocity = at::zeros_like(x);
    for (int i = 0; i < options_.iterations; ++i) {
#ifdef GLINT_CORE_ONLY
      const at::Tensor gradient = perturbed_gradient(run, trip, z, directions);
#else
      const at::Tensor gradient = options_.gradient == GradientSource::Backprop
                                      ? stability_gradient(run, trip, z)
                                      : perturbed_gradient(run, trip, z, directions);
#endif
      velocity = velocity.mul(options_.momentum).add_(gradient);
      z = z.sub(velocity, options_.learning_rate);
      if (options_.keep_norm) z = per_sample::scaled(z, length.div(per_sample::norm(z)));
    }
    run.report("stability_after", cosine(z, trip(run, z, trip.predictor())));
    return z;
  }

  void validate(const NoiseSchedule& schedule, const Predictor& predictor) const override {
    check_predictor("stability-optimization: ", RoundTrip(options_.trip, schedule, predictor).predictor(),
                    schedule.steps());
    GLINT_CHECK(
        options_.iterations == 0 || options_.gradient != GradientSource::Backprop ||
            (kDifferentiates && predictor.model->info().gradients),
        InvalidArgument,
        "stability-optimization.gradient: model '{}' has no gradients; gradient=perturbation works without",
        predictor.model->info().name);
  }

#ifndef GLINT_CORE_ONLY
  /// Returns the gradient of sum_b (1 - cos(x_b, F(x_b))) with respect to x.
  static at::Tensor stability_gradient(Run& run, const RoundTrip& trip, const at::Tensor& x) {
    std::vector<at::Tensor> states{x};
    for (int k = 0; k < trip.size(); ++k) states.push_back(trip.map(run, states.back(), k, trip.predictor()));
    // d cos / d x and d cos / d y at y = F(x), in closed form.
    const at::Tensor y = states.back();
    const at::Tensor n = per_sample::norm(x), m = per_sample::norm(y), c = cosine(x, y);
    const auto along = [](const at::Tensor& a, const at::Tensor& by_a, const at::Tensor& b,
                          const at::Tensor& by_b) {
      return per_sample::scaled(a, by_a).sub_(per_sample::scaled(b, by_b));
    };
    const at::Tensor direct = along(y, n.mul(m).reciprocal(), x, c.div(n.square()));
    at::Tensor back = along(x, n.mul(m).reciprocal(), y, c.div(m.square()));
    for (int k = trip.size(); k-- > 0;) {
      const c10::AutoGradMode gradients(true);
      at::Tensor input = states[static_cast<size_t>(k)].detach();
      input.requires_grad_(true);
      trip.map(run, input, k, trip.predictor()).backward(back);
      back = input.grad().detach();
    }
    return back.add(direct).neg_();
  }
#endif

 private:
  static at::Tensor perturbed_gradient(Run& run, const RoundTrip& trip, const at::Tensor& x,
                                       NoiseStream& directions) {
    constexpr double kStep = 1e-2;  // relative to x's entries, which are of order 1
    const at::Tensor d = directions.normal_like(x).sign_();
    const auto stability = [&](double side) {
      const at::Tensor at = x.add(d, side * kStep);
      return cosine(at, trip(run, at, trip.predictor()));
    };
    return per_sample::scaled(d, stability(-1.0).sub(stability(1.0)).div_(2.0 * kStep));
  }

  StabilityOptimizationOptions options_;
};

}  // namespace glint
