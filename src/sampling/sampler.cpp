#include "core/boundary.hpp"

#include <glint/sampling/sampler.hpp>

#ifndef GLINT_CORE_ONLY
#include <ATen/core/grad_mode.h>
#endif

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
  // Throw now if a level has no first-order update, so that the run cannot fail midway.
  for (int i = 0; i < p.schedule.steps(); ++i)
    move_coefficients(info.parameterization, p.schedule.level(i), p.schedule.landing(i));
  p.solver->validate(p.schedule, info);
  for (const auto& strategy : p.noise_strategies) {
    GLINT_CHECK(strategy, InvalidArgument, "noise_strategies: expected strategies, got a null pointer");
    strategy->validate(p.schedule, p.predictor);
  }
  for (const StepMethod& method : p.step_methods) {
    GLINT_CHECK(method.strategy || method.term, InvalidArgument,
                "step_methods: expected strategies or terms, got a null pointer");
    if (method.strategy) method.strategy->validate(p.schedule, p.predictor);
    if (method.term) method.term->validate(p.schedule, p.predictor);
  }
  if (p.cache) p.cache->validate(p.schedule, p.predictor);
}

void check_finite(const at::Tensor& x, const char* what, int step) {
  // One reduction, no copy: NaN and infinity never cancel out of a sum, and only astronomically large finite
  // values overflow it.
  const double sum = x.sum().item<double>();
  GLINT_CHECK(std::isfinite(sum), Numerical, "{}: expected finite values, got NaN or infinity{}", what,
              step < 0 ? "" : message(" after step {}", step));
}

// `argument` names the request field that gave the shape.
void check_latent_shape(std::string_view argument, at::IntArrayRef shape, const ModelInfo& info) {
  const at::IntArrayRef expected = info.latent_shape;
  bool fits = expected.empty() || shape.size() == expected.size();
  double values = 1.0;
  for (size_t d = 0; fits && d < shape.size(); ++d) {
    fits = shape[d] > 0 && (expected.empty() || expected[d] < 0 || expected[d] == shape[d]);
    values *= static_cast<double>(shape[d]);
  }
  constexpr double kMostValues = 1e12;  // far beyond memory, and so that no size in bytes overflows
  GLINT_CHECK(values <= kMostValues, InvalidArgument, "{}: expected at most {} values, got {}", argument,
              kMostValues, shape_string(shape));
  GLINT_CHECK(fits, ShapeMismatch, "{}: model '{}' expects latents {}, got {}", argument, info.name,
              expected.empty() ? "of positive sizes" : shape_string(expected) + " (-1: any positive size)",
              shape_string(shape));
}

// Returns the latent shape [C,...]: the request's, or the model's if fixed.
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
              "noise: expected float32 or float64, got {}", at::toString(noise.scalar_type()));
  GLINT_CHECK(noise.dim() >= 2 && noise.size(0) >= 1, ShapeMismatch,
              "noise: expected [B,C,...] with B >= 1, got {}", shape_string(noise.sizes()));
  check_latent_shape("noise", noise.sizes().slice(1), info);
  check_finite(noise, "noise", -1);
}

void check_refined(const at::Tensor& refined, const at::Tensor& x, std::string_view strategy) {
  GLINT_CHECK(refined.defined() && refined.sizes() == x.sizes() && refined.scalar_type() == x.scalar_type(),
              ShapeMismatch, "strategy '{}': expected latents {} of {} back, got {}", strategy,
              shape_string(x.sizes()), at::toString(x.scalar_type()),
              refined.defined() ? shape_string(refined.sizes()) + " of " + at::toString(refined.scalar_type())
                                : "an undefined tensor");
}

/// Returns a prediction of the step including all terms. `memory` is the rule's state along the accepted
/// steps.
Prediction predict_step(Run& run, const SamplerParts& parts, const at::Tensor& x, const Level& level,
                        int step, GuidanceState* memory, CacheMemory* cache) {
  std::vector<Predictor> predictors{parts.predictor};
  std::vector<double> weights;
  // A cache must know a predictor again at the next step, whatever other terms are active there.
  constexpr int kPerTerm = 1000;
  std::vector<int> names{0};
  for (size_t m = 0; m < parts.step_methods.size(); ++m) {
    const StepMethod& method = parts.step_methods[m];
    if (!method.term) continue;
    int name = static_cast<int>(m + 1) * kPerTerm;
    for (Gap& gap : method.term->gaps(run.schedule(), step, parts.predictor)) {
      predictors.push_back(std::move(gap.strong));
      predictors.push_back(std::move(gap.weak));
      weights.push_back(gap.weight);
      names.insert(names.end(), {name, name + 1});
      name += 2;
    }
  }
  std::vector<Prediction> made =
      run.predict(predictors, x, level, step, memory, parts.solver->reads(), cache, names);
  Prediction accepted = std::move(made.front());
  for (size_t g = 0; g < weights.size(); ++g)
    accepted.output =
        accepted.output.add(made[2 * g + 1].output, weights[g]).sub_(made[2 * g + 2].output, weights[g]);
  return accepted;
}

/// Returns the noise stream of a request.
NoiseStream noise_stream(const SampleRequest& request) {
  if (!request.seeds.empty()) return NoiseStream(request.seeds);
  return {request.seed, request.noise.defined() ? request.noise.size(0) : request.batch};
}

/// Returns the latents after the step's active strategies.
at::Tensor refined_at(Run& run, const SamplerParts& parts, const at::Tensor& x, int step,
                      SolverHistory& history) {
  at::Tensor refined = x;
  for (const StepMethod& method : parts.step_methods) {
    if (!method.strategy || !method.strategy->active(step, run.schedule().steps())) continue;
    const Run::Stage stage(run, method.strategy->name(), step);
    refined = method.strategy->refine(refined, {run, parts.predictor, step});
    check_refined(refined, x, method.strategy->name());
    history.x.reset();  // a corrector that starts from it would undo the refinement
  }
  return refined;
}

}  // namespace

Sampler::Sampler(SamplerParts parts) : parts_(std::move(parts)) {
  detail::at_boundary(ErrorCode::Internal, "sampler", [&] { check_parts(parts_); });
}

SampleResult Sampler::sample(const SampleRequest& request) const {
  return detail::at_boundary(ErrorCode::Internal, "sample", [&] { return sampled(request); });
}

SampleResult Sampler::sampled(const SampleRequest& request) const {
  const NoiseSchedule& schedule = parts_.schedule;
  const ModelInfo& info = parts_.predictor.model->info();
  const int steps = schedule.steps();
  const at::NoGradGuard no_gradients;  // a strategy that needs them opens its own scope
  if (request.noise.defined()) check_noise(request.noise, info);
  GLINT_CHECK(!request.effective_guidance || info.uncond_branch, InvalidArgument,
              "effective_guidance: model '{}' has no unconditional branch to measure against", info.name);

  GLINT_CHECK(request.seeds.empty() || !request.noise.defined() ||
                  static_cast<int64_t>(request.seeds.size()) == request.noise.size(0),
              InvalidArgument, "seeds: expected one for each of {} noises, got {}", request.noise.size(0),
              request.seeds.size());

  // Move once; everything then stays on the network's device until the result.
  const at::Device device(info.device);
  const Prompt prompt{to_device(request.prompt.cond, device), to_device(request.prompt.uncond, device)};
  Run run(schedule, prompt, noise_stream(request), request.observer);
  at::Tensor x = request.noise.defined() ? request.noise : run.noise().normal(latent_shape(request, info));
  x = x.to(device);
  if (schedule.initial_scale() != 1.0) x = x.mul(schedule.initial_scale());

  SampleResult result{.seed = request.seed, .steps = steps};
  {
    const Run::Stage stage(run, kDenoise, 0);
    for (const auto& strategy : parts_.noise_strategies) {
      const Run::Stage inner(run, strategy->name(), 0);
      at::Tensor refined = strategy->refine(x, {run, parts_.predictor});
      check_refined(refined, x, strategy->name());
      x = std::move(refined);
    }
    if (request.keep_trajectory) result.trajectory.push_back(x.to(at::kCPU));

    const std::unique_ptr<GuidanceState> memory = parts_.predictor.rule->begin();
    SolverHistory history;
    std::optional<CacheMemory> cache;
    if (parts_.cache) cache.emplace(*parts_.cache, x.size(0));
    CacheMemory* const cached = cache ? &*cache : nullptr;
    std::optional<GuidanceMeter> meter;
    if (request.effective_guidance) meter.emplace(parts_.predictor);
    for (int i = 0; i < steps; ++i) {
      const at::Tensor refined = refined_at(run, parts_, x, i, history);
      const Departure start = parts_.solver->depart(refined, schedule, i, run.noise());
      if (cached) cached->begin_step();
      const auto predict = [&](const at::Tensor& at, const Level& level) {
        return predict_step(run, parts_, at, level, i, memory.get(), cached);
      };
      const auto [output, branches] = predict(start.x, start.level);
      const Evaluate evaluate = [&](const at::Tensor& at, const Level& level) {
        return predict(at, level).output;
      };
      const at::Tensor next = parts_.solver->step(
          {start.x, output, info.parameterization, schedule, i, branches, evaluate, &start.level}, history,
          run.noise());
      if (meter) meter->measure(run, x, next, i);
      if (request.check_finite) check_finite(next, "latents", i);
      if (request.keep_trajectory) result.trajectory.push_back(next.to(at::kCPU));
      if (request.observer &&
          !request.observer->on_step({i, steps, start.level, schedule.landing(i), x, next, run.total(),
                                      start.x, output, info.parameterization, branches}))
        fail(ErrorCode::Cancelled, "the run was cancelled after step {} of {}", i, steps);
      x = next;
    }
    if (meter) result.effective_guidance = meter->result();
    if (cached) {
      const Run::Stage inner(run, parts_.cache->name(), steps - 1);
      run.report("spared", cached->spared());
      for (const auto& state : cached->first())
        for (const auto& [figure, values] : state->figures()) run.report(figure, values);
    }
  }
  check_finite(x, "latents", -1);
  result.latents = x.to(at::kCPU);
  result.usage = run.total();
  result.reports = run.reports();
  result.by_stage.insert(run.by_stage().begin(), run.by_stage().end());
  return result;
}

}  // namespace glint
