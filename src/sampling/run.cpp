#include <glint/attention/choices.hpp>
#include <glint/core/nearest.hpp>
#include <glint/sampling/run.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>

namespace glint {
namespace {

double now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

/// Throws unless the predictor's rule says what its weak branch is, and that fits the predictor's model.
void check_weak_branch(std::string_view owner, const Predictor& predictor) {
  const WeakBranch* weak = predictor.rule->weak_branch();
  GLINT_CHECK(weak, InvalidArgument, "{}rule: asks for a weak branch but does not say what it is", owner);
  if (weak->model) check_same_latents(fmt::format("{}rule, weak branch: ", owner), *weak->model, *predictor.model);
}

}  // namespace

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
    const BranchSet wanted = predictor.rule->branches({i, steps});
    GLINT_CHECK(wanted.cond || wanted.uncond || wanted.weak, InvalidArgument,
                "{}rule: asks for no branch at step {}", owner, i);
    needs_uncond = needs_uncond || wanted.uncond;
    needs_weak = needs_weak || wanted.weak;
  }
  if (needs_weak) check_weak_branch(owner, predictor);
  GLINT_CHECK(info.uncond_branch || !needs_uncond, InvalidArgument,
              "{}rule: model '{}' has no unconditional branch, so guidance by difference cannot apply; use scale 1{}",
              owner, info.name, info.embedded_guidance ? " and the embedded guidance" : "");
  GLINT_CHECK(!predictor.embedded_guidance || info.embedded_guidance, InvalidArgument,
              "{}embedded guidance: model '{}' does not take it", owner, info.name);
  GLINT_CHECK(!info.embedded_guidance || (predictor.embedded_guidance && std::isfinite(*predictor.embedded_guidance)),
              InvalidArgument,
              "{}embedded guidance: model '{}' takes the scale as an input; expected a finite one", owner,
              info.name);
  check_attention(owner, predictor.attention);
  GLINT_CHECK(!predictor.attention.sparse() || info.attention_layers > 0, InvalidArgument,
              "{}attention: model '{}' has no attention layers that could be made sparse (compiled packages "
              "have none)",
              owner, info.name);
  for (const auto& [name, scale] : predictor.adapters) {
    const bool known = std::find(info.adapters.begin(), info.adapters.end(), name) != info.adapters.end();
    GLINT_CHECK(known, InvalidArgument, "{}adapters: model '{}' has no adapter '{}'{}", owner, info.name,
                name, did_you_mean(name, info.adapters));
    GLINT_CHECK(std::isfinite(scale), InvalidArgument, "{}adapters.{}: expected a finite scale, got {}",
                owner, name, scale);
  }
}

/// One conditioning under one model, and what came out.
struct Run::Branch {
  const Model* model;
  const Adapters* adapters;
  std::optional<double> embedded_guidance;
  const AttentionPolicy* attention;  // null is dense
  const Conditioning* conditioning;
  at::Tensor output = {};

  bool same_call(const Branch& other) const {
    return model == other.model && embedded_guidance == other.embedded_guidance &&
           (attention == other.attention ||
            (attention && other.attention && *attention == *other.attention)) &&
           (adapters == other.adapters || *adapters == *other.adapters);
  }
};

/// Evaluates the branches, one call for all that one call can serve.
void Run::evaluate(std::span<Branch> branches, const at::Tensor& x, const Level& level) {
  for (size_t first = 0; first < branches.size(); ++first) {
    if (branches[first].output.defined()) continue;
    std::vector<size_t> members;
    std::vector<const Conditioning*> conditionings;
    for (size_t i = first; i < branches.size(); ++i) {
      if (branches[i].output.defined() || !branches[i].same_call(branches[first])) continue;
      members.push_back(i);
      conditionings.push_back(branches[i].conditioning);
    }
    const Branch& call = branches[first];
    std::vector<at::Tensor> raw = call.model->predict({.x = x,
                                                       .level = level,
                                                       .branches = conditionings,
                                                       .adapters = *call.adapters,
                                                       .embedded_guidance = call.embedded_guidance,
                                                       .attention = call.attention});
    GLINT_CHECK(raw.size() == members.size(), ShapeMismatch,
                "model '{}': expected {} outputs, one per branch, got {}", call.model->info().name,
                members.size(), raw.size());
    for (size_t k = 0; k < members.size(); ++k) {
      GLINT_CHECK(raw[k].defined() && raw[k].sizes() == x.sizes(), ShapeMismatch,
                  "model '{}': expected an output of shape {}, got {}", call.model->info().name,
                  shape_string(x.sizes()),
                  raw[k].defined() ? shape_string(raw[k].sizes()) : "an undefined tensor");
      branches[members[k]].output = std::move(raw[k]);
    }
    for (Usage* usage : {&total_, current_}) {
      if (!usage) continue;
      usage->calls += 1;
      usage->rows += x.size(0) * static_cast<int64_t>(members.size());
    }
    charge_time();
  }
}

at::Tensor Run::predict(const Predictor& predictor, const at::Tensor& x, const Level& level, int step,
                        GuidanceState* memory) {
  return std::move(predict(std::span(&predictor, 1), x, level, step, memory).front());
}

std::vector<at::Tensor> Run::predict(std::span<const Predictor> predictors, const at::Tensor& x, const Level& level,
                                     int step, GuidanceState* memory) {
  if (observer_ && !observer_->keep_going())
    fail(ErrorCode::Cancelled, "the run was cancelled at step {} of {}", step, schedule_.steps());

  // Where each predictor finds its outputs among the branches; -1 is not asked for.
  struct Wanted {
    const Prompt* prompt;
    int cond = -1, uncond = -1, weak = -1;
    const Conditioning* degraded = nullptr;  // what the rule's weak branch makes of the prompt
  };
  static const Adapters no_adapters;
  const StepPosition position{.step = step, .steps = schedule_.steps()};
  std::deque<Prompt> prompts;  // of predictors with a condition of their own; addresses stay
  std::deque<Conditioning> conditionings;
  std::vector<Branch> branches;
  std::vector<Wanted> wanted;
  const auto branch_of = [&](const Branch& branch) {
    for (size_t i = 0; i < branches.size(); ++i)
      if (branches[i].same_call(branch) && same_tensors(*branches[i].conditioning, *branch.conditioning))
        return static_cast<int>(i);
    branches.push_back(branch);
    return static_cast<int>(branches.size()) - 1;
  };
  for (const Predictor& predictor : predictors) {
    const Prompt& prompt = predictor.condition ? prompts.emplace_back(predictor.condition(prompt_)) : prompt_;
    Wanted& w = wanted.emplace_back(Wanted{.prompt = &prompt});
    const bool sparse = predictor.attention.sparse() && predictor.attention.active(position.step, position.steps);
    Branch branch{.model = predictor.model.get(),
                  .adapters = &predictor.adapters,
                  .embedded_guidance = predictor.embedded_guidance,
                  .attention = sparse ? &predictor.attention : nullptr,
                  .conditioning = nullptr};
    const auto under = [&](const Conditioning& conditioning) {
      branch.conditioning = &conditioning;
      return branch_of(branch);
    };
    const BranchSet set = predictor.rule->branches(position);
    if (set.cond) w.cond = under(prompt.cond);
    if (set.uncond) {
      GLINT_CHECK(prompt.uncond.tokens.defined() || !prompt.cond.tokens.defined(), InvalidArgument,
                  "conditioning.null_tokens: guidance at step {} needs the negative prompt's token embeddings; "
                  "give them, or guidance 1",
                  step);
      w.uncond = under(prompt.uncond);
    }
    if (!set.weak) continue;
    const WeakBranch& weak = *predictor.rule->weak_branch();
    if (weak.model) {
      branch.model = weak.model.get();
      branch.adapters = &no_adapters;
      if (!weak.model->info().embedded_guidance) branch.embedded_guidance.reset();
      if (weak.model->info().attention_layers == 0) branch.attention = nullptr;
    }
    for (size_t l = 0; weak.condition && l < wanted.size() && !w.degraded; ++l)
      if (predictors[l].rule == predictor.rule && same_tensors(wanted[l].prompt->cond, prompt.cond) &&
          same_tensors(wanted[l].prompt->uncond, prompt.uncond))
        w.degraded = wanted[l].degraded;
    if (weak.condition && !w.degraded) w.degraded = &conditionings.emplace_back(weak.condition(prompt));
    w.weak = under(w.degraded ? *w.degraded : prompt.cond);
  }
  evaluate(branches, x, level);

  const auto output_of = [&](int index) {
    return index < 0 ? at::Tensor() : branches[static_cast<size_t>(index)].output;
  };
  std::vector<at::Tensor> guided;
  guided.reserve(predictors.size());
  for (size_t l = 0; l < predictors.size(); ++l) {
    const Wanted& w = wanted[l];
    const bool remembers = memory && l == 0;
    const std::unique_ptr<GuidanceState> fresh = remembers ? nullptr : predictors[l].rule->begin();
    guided.push_back(predictors[l].rule->combine({output_of(w.cond), output_of(w.uncond), output_of(w.weak)},
                                           {.position = position,
                                            .x = x,
                                            .level = level,
                                            .parameterization = predictors[l].model->info().parameterization,
                                            .prompt = *w.prompt},
                                           remembers ? memory : fresh.get()));
  }
  return guided;
}

void Run::report(std::string_view name, const at::Tensor& values) {
  const at::Tensor flat = values.to(at::kCPU, at::kDouble).contiguous();
  std::vector<double>& list = reports_[std::string(stage_)][std::string(name)];
  list.insert(list.end(), flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel());
}

// The time since the last charge goes to the current stage and to the total, so that the stages add up to it.
void Run::charge_time() {
  const double time = now();
  if (current_) {
    current_->seconds += time - segment_start_;
    total_.seconds += time - segment_start_;
  }
  segment_start_ = time;
}

Run::Stage::Stage(Run& run, std::string_view name, int step)
    : run_(run), outer_(run.current_), outer_stage_(run.stage_) {
  run_.charge_time();
  auto found = run_.by_stage_.find(name);
  if (found == run_.by_stage_.end()) found = run_.by_stage_.emplace(std::string(name), Usage{}).first;
  run_.current_ = &found->second;
  run_.stage_ = found->first;
  if (run_.observer_) run_.observer_->on_stage(name, step, run_.schedule_.steps());
}

Run::Stage::~Stage() {
  run_.charge_time();
  run_.current_ = outer_;
  run_.stage_ = outer_stage_;
}

}  // namespace glint
