#include <glint/attention/choices.hpp>
#include <glint/run.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

namespace glint {
namespace {

double now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

}  // namespace

void check_leg(std::string_view owner, const Leg& leg, int steps) {
  GLINT_CHECK(leg.model, InvalidArgument, "{}model: expected one, got none", owner);
  GLINT_CHECK(leg.rule, InvalidArgument, "{}rule: expected a guidance rule, got none", owner);
  const ModelInfo& info = leg.model->info();
  bool needs_null = false;
  for (int i = 0; i < steps; ++i) {
    const BranchSet wanted = leg.rule->branches({i, steps});
    GLINT_CHECK(wanted.cond || wanted.null, InvalidArgument, "{}rule: asks for no branch at step {}", owner,
                i);
    needs_null = needs_null || wanted.null;
  }
  GLINT_CHECK(info.null_branch || !needs_null, InvalidArgument,
              "{}rule: model '{}' has no null branch, so guidance by difference cannot apply; use scale 1{}",
              owner, info.name, info.embedded_guidance ? " and the embedded guidance" : "");
  GLINT_CHECK(!leg.embedded_guidance || info.embedded_guidance, InvalidArgument,
              "{}embedded guidance: model '{}' does not take it", owner, info.name);
  GLINT_CHECK(!info.embedded_guidance || (leg.embedded_guidance && std::isfinite(*leg.embedded_guidance)),
              InvalidArgument,
              "{}embedded guidance: model '{}' takes the scale as an input; expected a finite one", owner,
              info.name);
  check_attention(owner, leg.attention);
  GLINT_CHECK(!leg.attention.sparse() || info.attention_layers > 0, InvalidArgument,
              "{}attention: model '{}' has no attention layers that could be made sparse (compiled packages "
              "have none)",
              owner, info.name);
  for (const auto& [name, scale] : leg.adapters) {
    const bool known = std::find(info.adapters.begin(), info.adapters.end(), name) != info.adapters.end();
    GLINT_CHECK(known, InvalidArgument, "{}adapters: model '{}' has no adapter '{}'", owner, info.name, name);
    GLINT_CHECK(std::isfinite(scale), InvalidArgument, "{}adapters.{}: expected a finite scale, got {}",
                owner, name, scale);
  }
}

at::Tensor Run::predict(const Leg& leg, const at::Tensor& x, const Level& level, int step) {
  if (observer_ && !observer_->keep_going())
    fail(ErrorCode::Cancelled, "the run was cancelled at step {} of {}", step, schedule_.steps());

  const StepPosition position{.step = step, .steps = schedule_.steps()};
  const BranchSet wanted = leg.rule->branches(position);
  std::optional<Prompt> changed;
  if (leg.condition) changed = leg.condition(prompt_);
  const Prompt& prompt = changed ? *changed : prompt_;

  std::array<const Conditioning*, 2> branches{};
  size_t count = 0;
  if (wanted.cond) branches[count++] = &prompt.cond;
  if (wanted.null) branches[count++] = &prompt.null;

  const bool sparse = leg.attention.sparse() && leg.attention.active(position.step, position.steps);
  std::vector<at::Tensor> raw = leg.model->predict({.x = x,
                                                    .level = level,
                                                    .branches = {branches.data(), count},
                                                    .adapters = leg.adapters,
                                                    .embedded_guidance = leg.embedded_guidance,
                                                    .attention = sparse ? &leg.attention : nullptr});
  GLINT_CHECK(raw.size() == count, ShapeMismatch, "model '{}': expected {} outputs, one per branch, got {}",
              leg.model->info().name, count, raw.size());
  for (const at::Tensor& output : raw)
    GLINT_CHECK(output.defined() && output.sizes() == x.sizes(), ShapeMismatch,
                "model '{}': expected an output of shape {}, got {}", leg.model->info().name,
                shape_string(x.sizes()),
                output.defined() ? shape_string(output.sizes()) : "an undefined tensor");
  const int64_t rows = x.size(0) * static_cast<int64_t>(count);
  for (Usage* usage : {&total_, current_}) {
    if (!usage) continue;
    usage->calls += 1;
    usage->rows += rows;
  }
  charge_time();

  BranchOutputs outputs;
  if (wanted.cond) outputs.cond = std::move(raw.front());
  if (wanted.null) outputs.null = std::move(raw.back());
  return leg.rule->combine(
      outputs,
      {.position = position, .x = x, .level = level, .parameterization = leg.model->info().parameterization},
      state_of(leg.rule));
}

GuidanceState* Run::state_of(const std::shared_ptr<const GuidanceRule>& rule) {
  for (const RuleState& known : states_)
    if (known.rule == rule && known.stage == current_) return known.state.get();
  return states_.emplace_back(RuleState{current_, rule, rule->begin()}).state.get();
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

Run::Stage::Stage(Run& run, std::string_view name, int step) : run_(run), outer_(run.current_) {
  run_.charge_time();
  auto found = run_.by_stage_.find(name);
  if (found == run_.by_stage_.end()) found = run_.by_stage_.emplace(std::string(name), Usage{}).first;
  run_.current_ = &found->second;
  if (run_.observer_) run_.observer_->on_stage(name, step, run_.schedule_.steps());
}

Run::Stage::~Stage() {
  run_.charge_time();
  run_.current_ = outer_;
}

}  // namespace glint
