#include <glint/attention/policy_options.hpp>
#include <glint/core/nearest.hpp>
#include <glint/sampling/predictor.hpp>

#include <algorithm>
#include <cmath>

namespace glint {
namespace {

/// Throws unless the rule specifies its weak branch and that matches the predictor's model.
void check_weak_branch(std::string_view owner, const Predictor& predictor) {
  const WeakBranch* weak = predictor.rule->weak_branch();
  GLINT_CHECK(weak, InvalidArgument, "{}rule: asks for a weak branch but does not say what it is", owner);
  if (weak->model)
    check_same_latents(message("{}rule, weak branch: ", owner), *weak->model, *predictor.model);
}

/// Combines the outputs through the first `count` filters.
at::Tensor filtered(const Predictor& predictor, size_t count, const BranchOutputs& outputs,
                    const GuidanceStep& step, GuidanceState* state) {
  if (count > 0) {
    const auto guided = [&] { return filtered(predictor, count - 1, outputs, step, state); };
    return predictor.filters[count - 1]->apply(guided, outputs, step);
  }
  // Show the rule only the branches it requested.
  BranchOutputs own = outputs;
  if (!predictor.rule->branches(step.position).cond) own.cond = at::Tensor();
  return predictor.rule->combine(own, step, state);
}

}  // namespace

BranchSet Predictor::branches(const StepPosition& position) const {
  BranchSet set = rule->branches(position);
  for (const auto& filter : filters) set = filter->branches(set, position);
  return set;
}

at::Tensor Predictor::combine(const BranchOutputs& outputs, const GuidanceStep& step,
                              GuidanceState* state) const {
  return filtered(*this, filters.size(), outputs, step, state);
}

void check_same_latents(std::string_view owner, const Model& other, const Model& own) {
  const ModelInfo &a = other.info(), &b = own.info();
  GLINT_CHECK(a.parameterization == b.parameterization && a.noise_kind == b.noise_kind, InvalidArgument,
              "{}model '{}' predicts {} of {} noise but the run's model '{}' {} of {} noise; they must agree",
              owner, a.name, enum_name(a.parameterization), enum_name(a.noise_kind), b.name,
              enum_name(b.parameterization), enum_name(b.noise_kind));
  GLINT_CHECK(a.latent_shape.empty() || b.latent_shape.empty() || a.latent_shape == b.latent_shape,
              InvalidArgument,
              "{}model '{}' works on latents {} but the run's model '{}' on {}; they must agree", owner,
              a.name, shape_string(a.latent_shape), b.name, shape_string(b.latent_shape));
}

void check_predictor(std::string_view owner, const Predictor& predictor, int steps) {
  GLINT_CHECK(predictor.model, InvalidArgument, "{}model: expected one, got none", owner);
  GLINT_CHECK(predictor.rule, InvalidArgument, "{}rule: expected a guidance rule, got none", owner);
  const ModelInfo& info = predictor.model->info();
  predictor.rule->validate(info);
  bool needs_uncond = false, needs_weak = false;
  for (int i = 0; i < steps; ++i) {
    const BranchSet wanted = predictor.branches({i, steps});
    GLINT_CHECK(wanted.cond || wanted.uncond || wanted.weak, InvalidArgument,
                "{}rule: asks for no branch at step {}", owner, i);
    needs_uncond = needs_uncond || wanted.uncond;
    needs_weak = needs_weak || wanted.weak;
  }
  if (needs_weak) check_weak_branch(owner, predictor);
  GLINT_CHECK(
      info.uncond_branch || !needs_uncond, InvalidArgument,
      "{}rule: model '{}' has no unconditional branch, so guidance by difference cannot apply; use scale 1{}",
      owner, info.name, info.embedded_guidance ? " and the embedded guidance" : "");
  GLINT_CHECK(!predictor.embedded_guidance || info.embedded_guidance, InvalidArgument,
              "{}embedded guidance: model '{}' does not take it", owner, info.name);
  GLINT_CHECK(
      !info.embedded_guidance || (predictor.embedded_guidance && std::isfinite(*predictor.embedded_guidance)),
      InvalidArgument, "{}embedded guidance: model '{}' takes the scale as an input; expected a finite one",
      owner, info.name);
  check_attention(owner, predictor.attention);
  GLINT_CHECK(!predictor.attention.sparse() || info.attention_layers > 0, InvalidArgument,
              "{}attention: model '{}' has no attention layers that could be made sparse (compiled packages "
              "have none)",
              owner, info.name);
  if (predictor.normalized) {
    check_ranges(message("{}{}", owner, NormalizedGuidance::info.name), *predictor.normalized);
    GLINT_CHECK(info.attention_layers > 0 && info.text_tokens != TextTokens::Unknown, InvalidArgument,
                "{}{}: model '{}' {}, so a negative prompt cannot act there", owner,
                NormalizedGuidance::info.name, info.name,
                info.attention_layers > 0 ? "does not tell where its attention layers read the prompt"
                                          : "has no attention layers that can be changed");
  }
  for (const auto& [name, scale] : predictor.adapters) {
    const bool known = std::find(info.adapters.begin(), info.adapters.end(), name) != info.adapters.end();
    GLINT_CHECK(known, InvalidArgument, "{}adapters: model '{}' has no adapter '{}'{}", owner, info.name,
                name, did_you_mean(name, info.adapters));
    GLINT_CHECK(std::isfinite(scale), InvalidArgument, "{}adapters.{}: expected a finite scale, got {}",
                owner, name, scale);
  }
}

}  // namespace glint
