#include <glint/run.hpp>

#include <array>
#include <chrono>

namespace glint {
namespace {

double now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

}  // namespace

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

  std::vector<at::Tensor> raw = leg.model->predict({.x = x,
                                                    .level = level,
                                                    .branches = {branches.data(), count},
                                                    .adapters = leg.adapters,
                                                    .embedded_guidance = leg.embedded_guidance});
  const int64_t rows = x.size(0) * static_cast<int64_t>(count);
  for (Usage* usage : {&total_, current_}) {
    if (!usage) continue;
    usage->calls += 1;
    usage->rows += rows;
  }

  BranchOutputs outputs;
  if (wanted.cond) outputs.cond = std::move(raw.front());
  if (wanted.null) outputs.null = std::move(raw.back());
  return leg.rule->combine(
      outputs,
      {.position = position, .x = x, .level = level, .parameterization = leg.model->info().parameterization},
      state_of(*leg.rule));
}

GuidanceState* Run::state_of(const GuidanceRule& rule) {
  for (const auto& [known, state] : states_)
    if (known == &rule) return state.get();
  return states_.emplace_back(&rule, rule.begin()).second.get();
}

Run::Stage::Stage(Run& run, std::string_view name, int step) : run_(run), outer_(run.current_) {
  const double time = now();
  if (outer_) outer_->seconds += time - run_.segment_start_;
  run_.segment_start_ = time;
  auto found = run_.by_stage_.find(name);
  if (found == run_.by_stage_.end()) found = run_.by_stage_.emplace(std::string(name), Usage{}).first;
  run_.current_ = &found->second;
  if (run_.observer_) run_.observer_->on_stage(name, step, run_.schedule_.steps());
}

Run::Stage::~Stage() {
  const double time = now();
  run_.current_->seconds += time - run_.segment_start_;
  run_.total_.seconds += time - run_.segment_start_;
  run_.segment_start_ = time;
  run_.current_ = outer_;
}

}  // namespace glint
