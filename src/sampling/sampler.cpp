#include <glint/guidance/cfg.hpp>
#include <glint/guidance/per_sample.hpp>
#include <glint/sampling/sampler.hpp>

#include <ATen/core/grad_mode.h>

#include <array>
#include <limits>
#include <optional>

namespace glint {
namespace {

constexpr std::string_view kDenoise = "denoise";

void check_parts(const SamplerParts& p) {
  GLINT_CHECK(p.predictor.model, InvalidArgument, "model: expected one, got none");
  GLINT_CHECK(p.solver, InvalidArgument, "solver: expected one, got none");
  const ModelInfo& info = p.predictor.model->info();
  GLINT_CHECK(info.noise_kind == p.schedule.kind(), InvalidArgument,
              "schedule: model '{}' was trained with {} noise, but the schedule is {}", info.name,
              enum_name(info.noise_kind), enum_name(p.schedule.kind()));
  check_predictor("", p.predictor, p.schedule.steps());
  // The conversions a first-order update needs exist at every level, or the run would fail midway.
  for (int i = 0; i < p.schedule.steps(); ++i)
    move_coefficients(info.parameterization, p.schedule.level(i), p.schedule.landing(i));
  p.solver->validate(p.schedule);
  GLINT_CHECK(!p.solver->wants_uncond() || info.uncond_branch, InvalidArgument,
              "solver: it renoises with the unconditional prediction, and model '{}' has no unconditional branch", info.name);
  for (const auto& strategy : p.noise_strategies) {
    GLINT_CHECK(strategy, InvalidArgument, "noise_strategies: expected strategies, got a null pointer");
    strategy->validate(p.schedule, p.predictor);
  }
  for (const auto& strategy : p.step_strategies) {
    GLINT_CHECK(strategy, InvalidArgument, "step_strategies: expected strategies, got a null pointer");
    strategy->validate(p.schedule, p.predictor);
  }
}

void check_finite(const at::Tensor& x, const char* what, int step) {
  // One reduction and no copy: NaN and infinity never cancel out of a sum, and finite values overflow it only
  // where they are astronomically large.
  const double sum = x.sum().item<double>();
  GLINT_CHECK(std::isfinite(sum), Numerical, "{}: expected finite values, got NaN or infinity{}", what,
              step < 0 ? "" : fmt::format(" after step {}", step));
}

// `argument` is what the user gave the shape in.
void check_latent_shape(std::string_view argument, at::IntArrayRef shape, const ModelInfo& info) {
  const at::IntArrayRef expected = info.latent_shape;
  bool fits = expected.empty() || shape.size() == expected.size();
  for (size_t d = 0; fits && d < shape.size(); ++d)
    fits = shape[d] > 0 && (expected.empty() || expected[d] < 0 || expected[d] == shape[d]);
  GLINT_CHECK(fits, ShapeMismatch, "{}: model '{}' expects latents {}, got {}", argument, info.name,
              expected.empty() ? "of positive sizes" : shape_string(expected) + " (-1: any positive size)",
              shape_string(shape));
}

// Returns [C,...] of the latents: from the request, or from the model where it is fixed.
std::vector<int64_t> latent_shape(const SampleRequest& request, const ModelInfo& info) {
  if (!request.latent_shape.empty()) {
    check_latent_shape("latent_shape", request.latent_shape, info);
    return request.latent_shape;
  }
  const bool fixed =
      !info.latent_shape.empty() &&
      std::all_of(info.latent_shape.begin(), info.latent_shape.end(), [](int64_t n) { return n > 0; });
  GLINT_CHECK(fixed, ShapeMismatch, "latent_shape: model '{}' leaves it open ({}); give it in the request",
              info.name, shape_string(info.latent_shape));
  return info.latent_shape;
}

void check_noise(const at::Tensor& noise, const ModelInfo& info) {
  GLINT_CHECK(noise.scalar_type() == at::kFloat || noise.scalar_type() == at::kDouble, UnsupportedDtype,
              "noise: expected float32 or float64, got {}", c10::toString(noise.scalar_type()));
  GLINT_CHECK(noise.dim() >= 2 && noise.size(0) >= 1, ShapeMismatch,
              "noise: expected [B,C,...] with B >= 1, got {}", shape_string(noise.sizes()));
  check_latent_shape("noise", noise.sizes().slice(1), info);
  check_finite(noise, "noise", -1);
}

void check_refined(const at::Tensor& refined, const at::Tensor& x, std::string_view strategy) {
  GLINT_CHECK(refined.defined() && refined.sizes() == x.sizes() && refined.scalar_type() == x.scalar_type(),
              ShapeMismatch, "strategy '{}': expected latents {} of {} back, got {}", strategy,
              shape_string(x.sizes()), c10::toString(x.scalar_type()),
              refined.defined()
                  ? shape_string(refined.sizes()) + " of " + c10::toString(refined.scalar_type())
                  : "an undefined tensor");
}

/// Returns the accepted prediction, with what the strategies active at this step add to it. `memory` is the rule's along the
/// accepted steps.
at::Tensor predict_step(Run& run, const SamplerParts& parts, const at::Tensor& x, int step,
                        GuidanceState* memory, at::Tensor& uncond_output) {
  const bool wants_uncond = parts.solver->wants_uncond();
  std::vector<Predictor> predictors{parts.predictor};
  std::vector<double> weights;
  for (const auto& strategy : parts.step_strategies) {
    if (!strategy->active(step, run.schedule().steps())) continue;
    for (Gap& gap : strategy->gaps(run.schedule(), step, parts.predictor)) {
      predictors.push_back(std::move(gap.strong));
      predictors.push_back(std::move(gap.weak));
      weights.push_back(gap.weight);
    }
  }
  if (wants_uncond) {
    static const auto uncond_rule = std::make_shared<const Cfg>(0.0);
    predictors.push_back(parts.predictor);
    predictors.back().rule = uncond_rule;
  }
  std::vector<at::Tensor> outputs = run.predict(predictors, x, run.schedule().level(step), step, memory);
  if (wants_uncond) uncond_output = outputs.back();
  at::Tensor output = std::move(outputs.front());
  for (size_t g = 0; g < weights.size(); ++g)
    output = output.add(outputs[2 * g + 1], weights[g]).sub_(outputs[2 * g + 2], weights[g]);
  return output;
}

/// Measures what guidance every step amounted to, from the latents before and after it.
class GuidanceMeter {
 public:
  explicit GuidanceMeter(const Predictor& predictor) : cond_(predictor), null_(predictor) {
    cond_.rule = std::make_shared<const Cfg>(1.0);
    null_.rule = std::make_shared<const Cfg>(0.0);
  }

  void measure(Run& run, const at::Tensor& x, const at::Tensor& next, int step) {
    Run::Stage stage(run, "effective-guidance", step);
    const NoiseSchedule& schedule = run.schedule();
    const Affine taken =
        move_coefficients(cond_.model->info().parameterization, schedule.level(step), schedule.landing(step));
    const std::array<Predictor, 2> predictors{cond_, null_};
    const std::vector<at::Tensor> outputs = run.predict(predictors, x, schedule.level(step), step);
    const at::Tensor &cond = outputs[0], &uncond = outputs[1];
    const at::Tensor implied = next.sub(x, taken.of_x).div_(taken.of_output).to(at::kDouble);
    const at::Tensor difference = cond.sub(uncond), delta = implied.sub_(uncond);
    const at::Tensor squared = per_sample::dot(difference, difference);
    const double unknown = std::numeric_limits<double>::quiet_NaN();
    const at::Tensor along = per_sample::ratio(per_sample::dot(delta, difference), squared, unknown, 1e-12);
    const at::Tensor rest = delta.sub(per_sample::scaled(difference.to(at::kDouble), along));
    // Kept on the device until the run is over: no synchronisation inside the loop.
    signed_.push_back(along.mean());
    unsigned_.push_back(along.abs().mean());
    orthogonal_.push_back(
        per_sample::ratio(per_sample::dot(rest, rest), squared, unknown, 1e-12).sqrt().mean());
  }

  EffectiveGuidance result() const {
    EffectiveGuidance result;
    result.mean_signed_scale = values(signed_, result.signed_scale);
    result.mean_unsigned_scale = values(unsigned_, result.unsigned_scale);
    result.mean_orthogonal = values(orthogonal_, result.orthogonal);
    return result;
  }

 private:
  static double values(const std::vector<at::Tensor>& tensors, std::vector<double>& list) {
    double sum = 0.0;
    int known = 0;
    for (const at::Tensor& tensor : tensors) {
      list.push_back(tensor.item<double>());
      if (std::isnan(list.back())) continue;
      sum += list.back();
      ++known;
    }
    return known > 0 ? sum / known : std::numeric_limits<double>::quiet_NaN();
  }

  Predictor cond_, null_;
  std::vector<at::Tensor> signed_, unsigned_, orthogonal_;
};

}  // namespace

Sampler::Sampler(SamplerParts parts) : parts_(std::move(parts)) { check_parts(parts_); }

SampleResult Sampler::sample(const SampleRequest& request) const {
  const NoiseSchedule& schedule = parts_.schedule;
  const ModelInfo& info = parts_.predictor.model->info();
  const int steps = schedule.steps();
  const at::NoGradGuard no_gradients;  // a strategy that needs them opens its own scope
  if (request.noise.defined()) check_noise(request.noise, info);
  GLINT_CHECK(!request.effective_guidance || info.uncond_branch, InvalidArgument,
              "effective_guidance: model '{}' has no unconditional branch to measure against", info.name);

  // Moved once; from here to the result everything stays where the network is.
  const at::Device device(info.device);
  const Prompt prompt{to_device(request.prompt.cond, device), to_device(request.prompt.uncond, device)};
  Run run(schedule, prompt,
          NoiseStream(request.seed, request.noise.defined() ? request.noise.size(0) : request.batch),
          request.observer);
  at::Tensor x = request.noise.defined() ? request.noise : run.noise().normal(latent_shape(request, info));
  x = x.to(device);
  if (schedule.initial_scale() != 1.0) x = x.mul(schedule.initial_scale());

  SampleResult result{.seed = request.seed, .steps = steps};
  {
    Run::Stage stage(run, kDenoise, 0);
    for (const auto& strategy : parts_.noise_strategies) {
      Run::Stage inner(run, strategy->name(), 0);
      at::Tensor refined = strategy->refine(x, {run, parts_.predictor});
      check_refined(refined, x, strategy->name());
      x = std::move(refined);
    }
    if (request.keep_trajectory) result.trajectory.push_back(x.to(at::kCPU));

    const std::unique_ptr<GuidanceState> memory = parts_.predictor.rule->begin();
    SolverHistory history;
    std::optional<GuidanceMeter> meter;
    if (request.effective_guidance) meter.emplace(parts_.predictor);
    for (int i = 0; i < steps; ++i) {
      at::Tensor refined = x;
      for (const auto& strategy : parts_.step_strategies) {
        if (!strategy->active(i, steps) || !strategy->refines()) continue;
        Run::Stage inner(run, strategy->name(), i);
        refined = strategy->refine(refined, {run, parts_.predictor, i});
        check_refined(refined, x, strategy->name());
        history.x.reset();  // a corrector that starts from it would undo the refinement
      }
      at::Tensor uncond_output;
      const at::Tensor output = predict_step(run, parts_, refined, i, memory.get(), uncond_output);
      const at::Tensor next = parts_.solver->step(
          {refined, output, info.parameterization, schedule, i, uncond_output}, history, run.noise());
      if (meter) meter->measure(run, x, next, i);
      if (request.check_finite) check_finite(next, "latents", i);
      if (request.keep_trajectory) result.trajectory.push_back(next.to(at::kCPU));
      if (request.observer &&
          !request.observer->on_step({i, steps, schedule.level(i), schedule.landing(i), x, next, run.total(),
                                      refined, output, info.parameterization}))
        fail(ErrorCode::Cancelled, "the run was cancelled after step {} of {}", i, steps);
      x = next;
    }
    if (meter) result.effective_guidance = meter->result();
  }
  check_finite(x, "latents", -1);
  result.latents = x.to(at::kCPU);
  result.usage = run.total();
  result.reports = run.reports();
  result.by_stage.insert(run.by_stage().begin(), run.by_stage().end());
  return result;
}

}  // namespace glint
