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

}  // namespace

/// One conditioning under one model, and its output.
struct detail::Branch {
  const Model* model;
  const Adapters* adapters;
  std::optional<double> embedded_guidance;
  const AttentionPolicy* attention;  // null = dense
  const Conditioning* conditioning;
  const NormalizedGuidance* normalized = nullptr;  // set together with `negative`
  const Conditioning* negative = nullptr;
  BranchKey key = {};
  at::Tensor output = {};

  /// Returns the network's rows per sample.
  int64_t rows() const { return negative && !model->info().text_apart ? 2 : 1; }

  /// Whether one call can evaluate both.
  bool same_call(const Branch& other) const {
    return model == other.model && embedded_guidance == other.embedded_guidance &&
           (attention == other.attention ||
            (attention && other.attention && *attention == *other.attention)) &&
           (adapters == other.adapters || *adapters == *other.adapters) &&
           (!normalized || !other.normalized || *normalized == *other.normalized);
  }

  /// Whether both have one output.
  bool same_output(const Branch& other) const {
    return same_call(other) && !normalized == !other.normalized &&
           same_tensors(*conditioning, *other.conditioning) &&
           (!normalized || same_tensors(*negative, *other.negative));
  }
};

namespace {

using detail::Branch;
using Role = BranchKey::Role;

/// Indices of a predictor's outputs among the branches; -1 = not requested.
struct Places {
  int cond = -1, uncond = -1, weak = -1;
};

/// The distinct branches of several predictions.
class BranchList {
 public:
  BranchList(const Prompt& prompt, const StepPosition& position) : prompt_(prompt), position_(position) {}

  /// Adds the branches the predictor needs at this step, under a name that it keeps from step to step.
  void add(const Predictor& predictor, int name) {
    const Prompt& prompt =
        predictor.condition ? prompts_.emplace_back(predictor.condition(prompt_)) : prompt_;
    asked_.push_back({.predictor = &predictor, .prompt = &prompt, .name = name});
    const BranchSet set = predictor.branches(position_);
    Places& places = asked_.back().places;
    if (set.cond) places.cond = place_cond(asked_.back());
    if (set.uncond) places.uncond = place(base(predictor), uncond(prompt), {name, Role::Uncond});
    if (set.weak) places.weak = place_weak(predictor);
  }

  /// Returns the first predictor's places, with these branches added.
  Places places_of_first(BranchSet also) {
    const Asked& first = asked_.front();
    Places places = first.places;
    if (also.cond && places.cond < 0) places.cond = place_cond(first);
    if (also.uncond && places.uncond < 0)
      places.uncond = place(base(*first.predictor), uncond(*first.prompt), {first.name, Role::Uncond});
    return places;
  }

  const Places& places(size_t predictor) const { return asked_[predictor].places; }
  const Prompt& prompt(size_t predictor) const { return *asked_[predictor].prompt; }
  std::span<Branch> branches() { return branches_; }

  BranchOutputs outputs(const Places& places) const {
    const auto at = [&](int index) {
      return index < 0 ? at::Tensor() : branches_[static_cast<size_t>(index)].output;
    };
    return {at(places.cond), at(places.uncond), at(places.weak)};
  }

 private:
  struct Asked {
    const Predictor* predictor;
    const Prompt* prompt;
    int name = 0;
    Places places = {};
    const Conditioning* degraded = nullptr;  // conditioning of the rule's weak branch
  };

  Branch base(const Predictor& predictor) const {
    const AttentionPolicy& attention = predictor.attention;
    const bool sparse = attention.sparse() && attention.window.contains(position_.step, position_.steps);
    return {.model = predictor.model.get(),
            .adapters = &predictor.adapters,
            .embedded_guidance = predictor.embedded_guidance,
            .attention = sparse ? &attention : nullptr,
            .conditioning = nullptr};
  }

  int place(Branch branch, const Conditioning& conditioning, BranchKey key) {
    branch.conditioning = &conditioning;
    branch.key = key;
    for (size_t i = 0; i < branches_.size(); ++i)
      if (branches_[i].same_output(branch)) return static_cast<int>(i);
    branches_.push_back(branch);
    return static_cast<int>(branches_.size()) - 1;
  }

  int place_cond(const Asked& asked) {
    const Predictor& predictor = *asked.predictor;
    Branch branch = base(predictor);
    if (predictor.normalized && predictor.normalized->active(position_.step, position_.steps)) {
      branch.normalized = &*predictor.normalized;
      branch.negative = &uncond(*asked.prompt);
    }
    return place(branch, asked.prompt->cond, {asked.name, Role::Cond});
  }

  int place_weak(const Predictor& predictor) {
    static const Adapters no_adapters;
    Branch branch = base(predictor);
    const WeakBranch& weak = *predictor.rule->weak_branch();
    if (weak.model) {
      branch.model = weak.model.get();
      branch.adapters = &no_adapters;
      if (!weak.model->info().embedded_guidance) branch.embedded_guidance.reset();
      if (weak.model->info().attention_layers == 0) branch.attention = nullptr;
    }
    return place(branch, weak.condition ? degraded(weak) : asked_.back().prompt->cond,
                 {asked_.back().name, Role::Weak});
  }

  /// Returns the weak branch's conditioning, made once for all predictors that share rule and prompt.
  const Conditioning& degraded(const WeakBranch& weak) {
    Asked& last = asked_.back();
    for (const Asked& other : asked_)
      if (other.degraded && other.predictor->rule == last.predictor->rule &&
          same_tensors(other.prompt->cond, last.prompt->cond) &&
          same_tensors(other.prompt->uncond, last.prompt->uncond))
        return *(last.degraded = other.degraded);
    return *(last.degraded = &conditionings_.emplace_back(weak.condition(*last.prompt)));
  }

  const Conditioning& uncond(const Prompt& prompt) const {
    GLINT_CHECK(prompt.uncond.tokens.defined() || !prompt.cond.tokens.defined(), InvalidArgument,
                "conditioning.null_tokens: guidance at step {} needs the negative prompt's token embeddings; "
                "give them, or guidance 1",
                position_.step);
    return prompt.uncond;
  }

  const Prompt& prompt_;
  StepPosition position_;
  std::deque<Prompt> prompts_;  // changed prompts; a deque keeps addresses stable
  std::deque<Conditioning> conditionings_;
  std::vector<Branch> branches_;
  std::vector<Asked> asked_;
};

}  // namespace

/// Evaluates the branches in as few model calls as possible.
void Run::evaluate(std::span<detail::Branch> branches, const at::Tensor& x, const Level& level) {
  for (size_t first = 0; first < branches.size(); ++first) {
    if (branches[first].output.defined()) continue;
    std::vector<size_t> members;
    std::vector<const Conditioning*> conditionings, negatives;
    detail::Branch call = branches[first];
    for (size_t i = first; i < branches.size(); ++i) {
      if (branches[i].output.defined() || !branches[i].same_call(call)) continue;
      members.push_back(i);
      conditionings.push_back(branches[i].conditioning);
      negatives.push_back(branches[i].negative);
      if (branches[i].normalized) call.normalized = branches[i].normalized;
    }
    if (!call.normalized) negatives.clear();
    std::vector<at::Tensor> raw = call.model->predict({.x = x,
                                                       .level = level,
                                                       .branches = conditionings,
                                                       .adapters = *call.adapters,
                                                       .embedded_guidance = call.embedded_guidance,
                                                       .attention = call.attention,
                                                       .normalized = call.normalized,
                                                       .negatives = negatives});
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
    int64_t rows = 0;
    for (const size_t i : members) rows += branches[i].rows();
    for (Usage* usage : {&total_, current_}) {
      if (!usage) continue;
      usage->calls += 1;
      usage->rows += x.size(0) * rows;
    }
    charge_time();
  }
}

/// Evaluates the branches for some samples of x.
void Run::evaluate_samples(std::span<detail::Branch> branches, const at::Tensor& x, const Level& level,
                           const std::vector<int64_t>& samples) {
  if (samples.size() == static_cast<size_t>(x.size(0))) return evaluate(branches, x, level);
  std::deque<Conditioning> conditionings;
  for (Branch& branch : branches)
    for (const Conditioning** c : {&branch.conditioning, &branch.negative})
      if (*c) *c = &conditionings.emplace_back(rows_of(**c, samples));
  std::vector<at::Tensor> rows;
  for (int64_t b : samples) rows.push_back(x.slice(0, b, b + 1));
  evaluate(branches, at::cat(rows), level);
}

/// Asks every sample's cache which branches run, runs those of equal samples together, and lets the caches
/// complete the rest.
void Run::evaluate_cached(std::span<detail::Branch> branches, const at::Tensor& x, const Level& level,
                          const StepPosition& position, CacheMemory& cache) {
  const auto states = cache.next();
  std::vector<BranchKey> keys;
  for (const Branch& branch : branches) keys.push_back(branch.key);
  std::vector<at::Tensor> samples;
  std::vector<CachedStep> steps;
  samples.reserve(states.size());
  std::vector<std::vector<int64_t>> running(branches.size());  // samples whose network runs, by branch
  for (size_t b = 0; b < states.size(); ++b) {
    samples.push_back(x.slice(0, static_cast<int64_t>(b), static_cast<int64_t>(b) + 1));
    steps.push_back({position, level, branches.front().model->info().parameterization, samples[b]});
    const std::vector<bool> runs = states[b]->runs(steps[b], keys);
    for (size_t i = 0; i < branches.size(); ++i) {
      if (runs[i])
        running[i].push_back(static_cast<int64_t>(b));
      else
        for (int64_t row = 0; row < branches[i].rows(); ++row) cache.spare(b);
    }
  }

  std::vector<std::vector<at::Tensor>> outputs(states.size(), std::vector<at::Tensor>(branches.size()));
  std::vector<bool> done(branches.size());
  for (size_t first = 0; first < branches.size(); ++first) {
    if (done[first] || running[first].empty()) continue;
    std::vector<size_t> members;
    std::vector<Branch> group;
    for (size_t i = first; i < branches.size(); ++i) {
      if (done[i] || running[i] != running[first]) continue;
      done[i] = true;
      members.push_back(i);
      group.push_back(branches[i]);
    }
    evaluate_samples(group, x, level, running[first]);
    for (size_t k = 0; k < members.size(); ++k) {
      const auto& ran = running[first];
      for (size_t row = 0; row < ran.size(); ++row)
        outputs[static_cast<size_t>(ran[row])][members[k]] =
            group[k].output.slice(0, static_cast<int64_t>(row), static_cast<int64_t>(row) + 1);
      if (ran.size() == states.size()) branches[members[k]].output = group[k].output;
    }
  }

  for (size_t b = 0; b < states.size(); ++b) states[b]->complete(steps[b], keys, outputs[b]);
  for (size_t i = 0; i < branches.size(); ++i) {
    if (branches[i].output.defined()) continue;
    std::vector<at::Tensor> parts;
    for (auto& of_sample : outputs) parts.push_back(of_sample[i]);
    branches[i].output = parts.size() == 1 ? parts.front() : at::cat(parts);
  }
}

at::Tensor Run::predict(const Predictor& predictor, const at::Tensor& x, const Level& level, int step,
                        GuidanceState* memory) {
  return std::move(predict(std::span(&predictor, 1), x, level, step, memory).front().output);
}

std::vector<Prediction> Run::predict(std::span<const Predictor> predictors, const at::Tensor& x,
                                     const Level& level, int step, GuidanceState* memory, BranchSet also,
                                     CacheMemory* cache, std::span<const int> names) {
  if (observer_ && !observer_->keep_going())
    fail(ErrorCode::Cancelled, "the run was cancelled at step {} of {}", step, schedule_.steps());

  const StepPosition position{.step = step, .steps = schedule_.steps()};
  BranchList list(prompt_, position);
  for (size_t i = 0; i < predictors.size(); ++i)
    list.add(predictors[i], names.empty() ? static_cast<int>(i) : names[i]);
  const Places of_first = list.places_of_first(also);
  if (cache)
    evaluate_cached(list.branches(), x, level, position, *cache);
  else
    evaluate(list.branches(), x, level);

  std::vector<Prediction> predictions;
  predictions.reserve(predictors.size());
  for (size_t i = 0; i < predictors.size(); ++i) {
    const Predictor& predictor = predictors[i];
    const GuidanceStep guidance{.position = position,
                                .x = x,
                                .level = level,
                                .parameterization = predictor.model->info().parameterization,
                                .prompt = list.prompt(i)};
    const bool remembers = memory && i == 0;
    const std::unique_ptr<GuidanceState> fresh = remembers ? nullptr : predictor.rule->begin();
    const BranchOutputs own = list.outputs(list.places(i));
    predictions.push_back({predictor.combine(own, guidance, remembers ? memory : fresh.get()),
                           i == 0 ? list.outputs(of_first) : own});
  }
  return predictions;
}

void Run::report(std::string_view name, const at::Tensor& values) {
  const at::Tensor flat = values.to(at::kCPU, at::kDouble).contiguous();
  std::vector<double>& list = reports_[std::string(stage_)][std::string(name)];
  list.insert(list.end(), flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel());
}

void Run::report(std::string_view name, std::span<const double> values) {
  std::vector<double>& list = reports_[std::string(stage_)][std::string(name)];
  list.insert(list.end(), values.begin(), values.end());
}

// Charges the time since the last charge to both the current stage and the total, so that stages add up.
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
