#include <glint/sampler.hpp>

namespace glint {
namespace {

constexpr std::string_view kDenoise = "denoise";

void check_parts(const SamplerParts& p) {
  GLINT_CHECK(p.leg.model, InvalidArgument, "model: expected one, got none");
  GLINT_CHECK(p.leg.rule, InvalidArgument, "rule: expected a guidance rule, got none");
  GLINT_CHECK(p.solver, InvalidArgument, "solver: expected one, got none");
  const ModelInfo& info = p.leg.model->info();
  GLINT_CHECK(info.noise_kind == p.schedule.kind(), InvalidArgument,
              "schedule: model '{}' was trained with {} noise, but the schedule is {}", info.name,
              to_string(info.noise_kind), to_string(p.schedule.kind()));
  GLINT_CHECK(info.null_branch || !p.leg.rule->branches({0, p.schedule.steps()}).null, InvalidArgument,
              "rule: model '{}' has no null branch, so guidance by difference cannot apply; use scale 1{}", info.name,
              info.embedded_guidance ? " and the embedded guidance" : "");
  GLINT_CHECK(!p.leg.embedded_guidance || info.embedded_guidance, InvalidArgument,
              "embedded guidance: model '{}' does not take it", info.name);
  for (const auto& [name, scale] : p.leg.adapters) {
    const bool known = std::find(info.adapters.begin(), info.adapters.end(), name) != info.adapters.end();
    GLINT_CHECK(known, InvalidArgument, "adapters: model '{}' has no adapter '{}'", info.name, name);
    GLINT_CHECK(std::isfinite(scale), InvalidArgument, "adapters.{}: expected a finite scale, got {}", name, scale);
  }
  // The conversions a first-order update needs exist at every level, or the run would fail midway.
  for (int i = 0; i < p.schedule.steps(); ++i)
    move_coefficients(info.parameterization, p.schedule.level(i), p.schedule.landing(i));
  p.solver->validate(p.schedule);
  for (const auto& strategy : p.noise_strategies) {
    GLINT_CHECK(strategy, InvalidArgument, "noise_strategies: expected strategies, got a null pointer");
    strategy->validate(p.schedule, p.leg);
  }
  for (const auto& strategy : p.step_strategies) {
    GLINT_CHECK(strategy, InvalidArgument, "step_strategies: expected strategies, got a null pointer");
    strategy->validate(p.schedule, p.leg);
  }
}

void check_finite(const at::Tensor& x, const char* what, int step) {
  // One reduction: a sum of absolute values overflows only if an element does, unless it is astronomically large.
  const double sum = x.abs().sum(at::kDouble).item<double>();
  GLINT_CHECK(std::isfinite(sum), Numerical, "{}: expected finite values, got NaN or infinity{}", what,
              step < 0 ? "" : fmt::format(" after step {}", step));
}

// Returns [C,...] of the latents: from the request, or from the model where it is fixed.
std::vector<int64_t> latent_shape(const SampleRequest& request, const ModelInfo& info) {
  std::vector<int64_t> shape = request.latent_shape.empty() ? info.latent_shape : request.latent_shape;
  const auto text = [](const std::vector<int64_t>& s) { return shape_string(s); };
  GLINT_CHECK(!shape.empty(), ShapeMismatch, "latent_shape: model '{}' does not state one; give it in the request",
              info.name);
  bool fits = info.latent_shape.empty() || shape.size() == info.latent_shape.size();
  for (size_t d = 0; fits && d < shape.size(); ++d)
    fits = shape[d] > 0 && (info.latent_shape.empty() || info.latent_shape[d] < 0 || info.latent_shape[d] == shape[d]);
  GLINT_CHECK(fits, ShapeMismatch, "latent_shape: model '{}' expects {} (-1: any positive size), got {}", info.name,
              text(info.latent_shape), text(shape));
  return shape;
}

void check_noise(const at::Tensor& noise, const ModelInfo& info) {
  GLINT_CHECK(noise.scalar_type() == at::kFloat || noise.scalar_type() == at::kDouble, UnsupportedDtype,
              "noise: expected float32 or float64, got {}", c10::toString(noise.scalar_type()));
  GLINT_CHECK(noise.dim() >= 2 && noise.size(0) >= 1, ShapeMismatch, "noise: expected [B,C,...] with B >= 1, got {}",
              shape_string(noise.sizes()));
  SampleRequest shape_only;
  shape_only.latent_shape.assign(noise.sizes().begin() + 1, noise.sizes().end());
  latent_shape(shape_only, info);
  check_finite(noise, "noise", -1);
}

}  // namespace

Sampler::Sampler(SamplerParts parts) : parts_(std::move(parts)) { check_parts(parts_); }

SampleResult Sampler::sample(const SampleRequest& request) const {
  const NoiseSchedule& schedule = parts_.schedule;
  const ModelInfo& info = parts_.leg.model->info();
  const int steps = schedule.steps();
  if (request.noise.defined()) check_noise(request.noise, info);

  Run run(schedule, request.prompt,
          NoiseStream(request.seed, request.noise.defined() ? request.noise.size(0) : request.batch),
          request.observer);
  at::Tensor x = request.noise.defined() ? request.noise : run.noise().normal(latent_shape(request, info));
  if (schedule.initial_scale() != 1.0) x = x.mul(schedule.initial_scale());

  SampleResult result{.seed = request.seed, .steps = steps};
  {
    Run::Stage stage(run, kDenoise, 0);
    for (const auto& strategy : parts_.noise_strategies) {
      Run::Stage inner(run, strategy->name(), 0);
      x = strategy->refine(x, {run, parts_.leg});
    }
    if (request.keep_trajectory) result.trajectory.push_back(x);

    SolverHistory history;
    for (int i = 0; i < steps; ++i) {
      at::Tensor refined = x;
      for (const auto& strategy : parts_.step_strategies) {
        if (!strategy->active(i, steps)) continue;
        Run::Stage inner(run, strategy->name(), i);
        refined = strategy->refine(refined, {run, parts_.leg, i});
        history.x.reset();  // a corrector that starts from it would undo the refinement
      }
      const at::Tensor output = run.predict(parts_.leg, refined, schedule.level(i), i);
      const at::Tensor next = parts_.solver->step({refined, output, info.parameterization, schedule, i}, history, run.noise());
      if (request.check_finite) check_finite(next, "latents", i);
      if (request.keep_trajectory) result.trajectory.push_back(next);
      if (request.observer &&
          !request.observer->on_step({i, steps, schedule.level(i), schedule.landing(i), x, next, run.total(), refined,
                                      output, info.parameterization}))
        fail(ErrorCode::Cancelled, "the run was cancelled after step {} of {}", i, steps);
      x = next;
    }
  }
  check_finite(x, "latents", -1);
  result.latents = x;
  result.usage = run.total();
  result.by_stage.insert(run.by_stage().begin(), run.by_stage().end());
  return result;
}

}  // namespace glint
