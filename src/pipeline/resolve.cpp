#include "network/host_state.hpp"
#include "pipeline/memory.hpp"
#include "pipeline/sizes.hpp"

#include <glint/pipeline/pipeline.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace glint {
namespace {

/// Rejects schedule options that do not apply to the model's kind of grid.
void check_schedule_options(const OptionValues& options, NoiseKind kind) {
  const std::vector<std::string> flow{"sigmas", "rho", "sigma_min", "sigma_max", "shift"};
  const std::vector<std::string> vp{"spacing",   "steps_offset", "sigmas",  "rho",
                                    "sigma_min", "sigma_max",    "terminal"};
  const auto has = [](const auto& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const auto& [name, value] : options)
    GLINT_CHECK(
        has(kind == NoiseKind::Flow ? flow : vp, name) || !has(kind == NoiseKind::Flow ? vp : flow, name),
        InvalidArgument, "schedule.{}: does not apply to a {} model", name, enum_name(kind));
}

/// The solver, and the guidance scales it is designed for.
struct SolverPlan {
  Choice choice;
  std::shared_ptr<const Solver> solver;
  std::optional<GuidanceRange> range;
};

SolverPlan plan_solver(const GenerateRequest& request, const Manifest& manifest, const Registry& registry) {
  Choice choice{.name = manifest.schedule.kind == NoiseKind::Flow ? "flow-euler" : "euler"};
  if (!manifest.default_solver.empty()) choice = parse_choice(manifest.default_solver);
  if (request.solver) choice = *request.solver;
  const auto& entry = registry.entry(choice.name, "solver");
  return {choice, registry.solver(choice), entry.info.guidance};
}

NoiseSchedule plan_schedule(const GenerateRequest& request, const Manifest& manifest, const Solver& solver,
                            const std::vector<int64_t>& shape) {
  const ScheduleSpec& spec = manifest.schedule;
  check_schedule_options(request.schedule, spec.kind);
  GridOptions grid = read_options("schedule", request.schedule, spec.grid);
  if (!grid.sigmas.has_ends()) {  // the bundle's bounds belong to its own way to spread them
    if (!request.schedule.contains("sigma_min")) grid.sigma_min.reset();
    if (!request.schedule.contains("sigma_max")) grid.sigma_max.reset();
  }
  const auto own = static_cast<int>(grid.sigmas.own.size());
  grid.steps = request.steps.value_or(own > 0 ? own : static_cast<int>(manifest.default_steps.value_or(20)));
  const int64_t patch = manifest.latent.patch;
  if (spec.flow.dynamic)
    grid.tokens = static_cast<double>((shape.back() / patch) * (shape[shape.size() - 2] / patch));
  return spec.kind == NoiseKind::Flow ? solver.schedule(spec.flow, grid) : solver.schedule(spec.vp, grid);
}

/// Resolves the rule. The guidance scale goes either to the rule or to the network's input, never to both or
/// neither.
class RulePlan {
 public:
  RulePlan(const GenerateRequest& request, const Registry& registry, const SolverPlan& solver,
           const GuidanceSpec& model)
      : request_(request), registry_(registry), solver_(solver), model_(model) {
    const double fallback = solver.range ? solver.range->fallback : model.default_scale;
    guidance_ = request.guidance.value_or(fallback);
    // As in every pipeline, scales at and below 1 are off; the null prompt alone has to be asked for by name.
    if (!solver.range && !model.embedded) guidance_ = std::max(guidance_, 1.0);
  }

  /// Returns the choice with the scale filled in.
  Choice named(Choice rule) {
    const auto& options = registry_.entry(rule.name, "rule").options;
    const bool has_scale =
        std::any_of(options.begin(), options.end(), [](const auto& o) { return o.name == "scale"; });
    if (model_.embedded) {
      if (has_scale) rule.options.emplace("scale", 1.0);
      return rule;
    }
    GLINT_CHECK(!request_.guidance || (has_scale && !rule.options.contains("scale")), InvalidArgument,
                "guidance: {}; give one of the two",
                has_scale ? fmt::format("rule '{}' is given a scale of its own", rule.name)
                          : fmt::format("rule '{}' has no scale", rule.name));
    if (!has_scale) return rule;
    const OptionValue scale = rule.options.emplace("scale", guidance_).first->second;
    const std::optional<double> number = detail::number_in(scale);
    const auto& range = solver_.range;
    GLINT_CHECK(!range || !number || (range->smallest <= *number && *number <= range->largest),
                InvalidArgument, "guidance: solver '{}' takes scales in [{}, {}], got {}",
                solver_.choice.name, range->smallest, range->largest, *number);
    guidance_ = number.value_or(guidance_);
    return rule;
  }

  /// Rejects a guidance scale next to a rule object, which has its own.
  void object() const {
    GLINT_CHECK(!request_.guidance || model_.embedded, InvalidArgument,
                "guidance: the rule is an object with a scale of its own; give one of the two");
  }

  double guidance() const { return guidance_; }

 private:
  const GenerateRequest& request_;
  const Registry& registry_;
  const SolverPlan& solver_;
  const GuidanceSpec& model_;
  double guidance_ = 1.0;
};

/// Sorts the products of methods into the sampler's parts.
class Assembly {
 public:
  explicit Assembly(SamplerParts& parts) : parts_(parts) {}

  void operator()(std::shared_ptr<const GuidanceRule> rule) {
    GLINT_CHECK(!parts_.predictor.rule, InvalidArgument, "with: expected one rule at most, got two");
    parts_.predictor.rule = std::move(rule);
  }
  void operator()(std::shared_ptr<const GuidanceFilter> filter) {
    parts_.predictor.filters.push_back(std::move(filter));
  }
  void operator()(const std::shared_ptr<const Solver>&) {
    fail(ErrorCode::InvalidArgument, "with: a solver is not a method; give it as the request's solver");
  }
  void operator()(StepMethod method) { parts_.step_methods.push_back(std::move(method)); }
  void operator()(std::shared_ptr<const NoiseStrategy> strategy) {
    parts_.noise_strategies.push_back(std::move(strategy));
  }
  void operator()(const AttentionPolicy& policy) {
    GLINT_CHECK(!attention_, InvalidArgument, "with: expected one attention policy at most, got two");
    attention_ = true;
    parts_.predictor.attention = policy;
  }
  void operator()(const NormalizedGuidance& guidance) {
    GLINT_CHECK(!parts_.predictor.normalized, InvalidArgument,
                "with: expected one attention guidance at most, got two");
    parts_.predictor.normalized = guidance;
  }
  void operator()(std::shared_ptr<const StepCache> cache) {
    GLINT_CHECK(!parts_.cache, InvalidArgument, "with: expected one cache at most, got two");
    parts_.cache = std::move(cache);
  }

 private:
  SamplerParts& parts_;
  bool attention_ = false;
};

/// Appends the bundle's filters, which belong to its solver, except those that the request has itself.
void add_default_filters(std::vector<Method>& methods, const GenerateRequest& request,
                         const Manifest& manifest, const Registry& registry) {
  if (request.solver) return;
  for (const std::string& text : manifest.default_filters) {
    Choice choice = parse_choice(text);
    registry.entry(choice.name, "filter");
    const bool given = std::any_of(request.with.begin(), request.with.end(), [&](const Method& method) {
      return method.choice() && method.choice()->name == choice.name;
    });
    if (!given) methods.emplace_back(std::move(choice));
  }
}

/// Returns whether a run of these parts may evaluate the negative prompt. Strategies may.
bool reads_negative(const SamplerParts& parts) {
  if (!parts.noise_strategies.empty() || !parts.step_methods.empty() || parts.solver->reads().uncond)
    return true;
  const int steps = parts.schedule.steps();
  for (int i = 0; i < steps; ++i) {
    const BranchSet set = parts.predictor.branches({i, steps});
    if (set.uncond || set.weak) return true;
    if (parts.predictor.normalized && parts.predictor.normalized->active(i, steps)) return true;
  }
  return false;
}

/// Throws if the model cannot do what the options of the prompts ask for.
void check_prompt_options(const GenerateRequest& request, const Bundle& bundle) {
  const Manifest& manifest = bundle.manifest();
  check_origins(request.text, manifest.family);
  PromptOptions others = request.text;
  others.origin = others.negative_origin = {};
  const auto given = prompt_field_texts(others);
  if (given.empty()) return;
  GLINT_CHECK(!request.conditioning, InvalidArgument,
              "{}: expected none beside a conditioning, which replaces the prompts", given.begin()->first);
  const bool negatives = !request.text.negative_2.empty() || !request.text.negative_3.empty();
  GLINT_CHECK(!negatives || request.negative || !manifest.guidance.zero_uncond, InvalidArgument,
              "{}: expected a negative prompt beside it: without one, the embeddings of model '{}' are zeros",
              request.text.negative_2.empty() ? "negative_3" : "negative_2", manifest.name);
  bundle.prompt_encoder(request.adapters)->check(request.text);
}

}  // namespace

Plan Pipeline::resolve(const GenerateRequest& request) const {
  return detail::torch_boundary(ErrorCode::Internal, "resolve", [&] {
    const Manifest& manifest = bundle_.manifest();
    detail::check_numbers(request);
    detail::check_prompts(request);
    detail::check_memory(request, bundle_);
    const auto free_params = [&] {
      if (request.free_params_immediately) bundle_.free_params();
    };
    check_prompt_options(request, bundle_);
    free_params();
    const SolverPlan solver = plan_solver(request, manifest, registry_);
    RulePlan rule(request, registry_, solver, manifest.guidance);
    std::vector<Method> methods;
    std::string rule_name;
    bool has_rule = false;
    for (const Method& method : request.with) {
      const Choice* choice = method.choice();
      const std::string_view kind = choice ? registry_.entry(choice->name).info.kind : "";
      GLINT_CHECK(kind != "solver", InvalidArgument, "with: '{}' is a solver; give it as the solver",
                  choice->name);
      const bool is_rule = choice ? kind == "rule" : method.makes_rule();
      if (is_rule && !choice) rule.object();
      if (is_rule && choice) rule_name = choice->name;
      has_rule = has_rule || is_rule;
      methods.push_back(is_rule && choice ? Method(rule.named(*choice)) : method);
    }
    if (!has_rule) methods.emplace_back(rule.named({.name = rule_name = "cfg"}));
    add_default_filters(methods, request, manifest, registry_);

    const std::vector<int64_t> shape = detail::latent_shape(request, manifest);
    const int64_t scale = manifest.latent.spatial_scale;
    const PictureSize size{.height = shape[shape.size() - 2] * scale, .width = shape.back() * scale};
    const int64_t tile = request.decode ? detail::tile_side(request, manifest.latent, shape) : 0;

    SamplerParts parts{.predictor = Predictor{.model = bundle_.model(), .adapters = request.adapters},
                       .schedule = plan_schedule(request, manifest, *solver.solver, shape),
                       .solver = solver.solver};
    const ModelInfo& info = parts.predictor.model->info();
    if (info.embedded_guidance) parts.predictor.embedded_guidance = rule.guidance();
    BuildContext context{.bundle = &bundle_, .latent_shape = shape};
    context.encode = [&](std::string_view prompt) {
      free_params();
      const auto encoder = bundle_.prompt_encoder(request.adapters);
      PromptCall call = positive_call(request.text);
      call.second = call.third = {};  // those are for the run's prompt
      auto encoded = to_device(encoder->encode(prompt, size, call).conditioning, at::Device(info.device));
      free_params();
      return encoded;
    };
    Assembly assembly(parts);
    for (const Method& method : methods) std::visit(assembly, method.make(registry_, context));
    free_params();

    Sampler sampler(std::move(parts));
    const bool negative = reads_negative(sampler.parts());
    const int64_t per_prompt = request.noise.defined() ? request.noise.size(0) : request.count;
    const auto prompts = request.conditioning ? int64_t{1} : static_cast<int64_t>(request.prompts.size());
    const int64_t samples = per_prompt * prompts;
    GLINT_CHECK(request.first < samples, InvalidArgument, "first: expected 0 to {}, got {}", samples - 1,
                request.first);
    return Plan{.sampler = std::move(sampler),
                .latent_shape = shape,
                .size = size,
                .solver = solver.choice.name,
                .rule = rule_name,
                .guidance = rule.guidance(),
                .vae_tile = tile,
                .per_prompt = per_prompt,
                .samples = samples,
                .end = request.first + std::min(request.limit.value_or(samples), samples - request.first),
                .reads_negative = negative};
  });
}

}  // namespace glint
