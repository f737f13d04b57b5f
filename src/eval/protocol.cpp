#include "eval/protocol.hpp"

#include <glint/core/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

namespace glint::detail {
namespace {

/// A scale as close to the measured one as the measurement is meaningful, so that CFG is matched by itself.
double rounded_scale(double scale) { return std::round(scale * 1000.0) / 1000.0; }

double mean_of_measured(const std::vector<const PairResult*>& pairs, double PairResult::*value) {
  double sum = 0.0;
  int64_t count = 0;
  for (const PairResult* pair : pairs) {
    if (std::isnan(pair->*value)) continue;
    sum += pair->*value;
    ++count;
  }
  return count > 0 ? sum / static_cast<double>(count) : kNotMeasured;
}

double distance(const Thumbnail& a, const Thumbnail& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = (static_cast<double>(a[i]) - static_cast<double>(b[i])) / 255.0;
    sum += difference * difference;
  }
  return std::sqrt(sum / static_cast<double>(a.size()));
}

/// Returns the mean distance between the thumbnails of a prompt's seeds, averaged over the prompts.
double diversity(const std::vector<const PairResult*>& pairs, int64_t seeds) {
  if (seeds < 2) return kNotMeasured;
  const auto group = static_cast<size_t>(seeds);
  double sum = 0.0;
  int64_t count = 0;
  for (size_t prompt = 0; prompt < pairs.size(); prompt += group)
    for (size_t a = prompt; a < prompt + group; ++a)
      for (size_t b = a + 1; b < prompt + group; ++b, ++count)
        sum += distance(pairs[a]->thumbnail, pairs[b]->thumbnail);
  return sum / static_cast<double>(count);
}

}  // namespace

void check_arm(const ArmSampler& sampler, const Arm& arm) {
  try {
    sampler.settings(arm);
  } catch (const Error& error) {
    fail(error.code(), "methods: '{}': {}", arm.name, error.what());
  }
}

Protocol::Protocol(const EvalRequest& request, ArmSampler& sampler, Journal& journal)
    : request_(request), sampler_(sampler), journal_(journal) {
  plan_methods();
}

/// Returns the index of the arm, or of one that samples alike.
size_t Protocol::add(Arm arm) {
  const std::string key = arm.key();
  const auto same = std::find_if(arms_.begin(), arms_.end(), [&](const Arm& a) { return a.key() == key; });
  if (same != arms_.end()) return static_cast<size_t>(same - arms_.begin());
  arms_.push_back(std::move(arm));
  return arms_.size() - 1;
}

void Protocol::plan_methods() {
  const ArmSettings plain = sampler_.settings({});
  // Settings that equal the evaluation's own are not set, so that plain sampling is one arm however written.
  const auto plainly = [&](Arm arm) {
    if (arm.steps == plain.steps) arm.steps.reset();
    if (arm.methods.empty() && !arm.solver && arm.guidance == plain.guidance) arm.guidance.reset();
    return arm;
  };
  add({.name = "plain"});
  for (const Arm& method : request_.methods) {
    check_arm(sampler_, method);
    methods_.push_back(add(plainly(method)));
  }
  for (const double scale : request_.curve)
    add(plainly({.name = fmt::format("plain:guidance={}", scale), .guidance = scale}));
}

std::string Protocol::other_scorer(const std::string& judge) const {
  for (const std::string& scorer : request_.scorers)
    if (sampler_.scorer_identity(scorer) != sampler_.scorer_identity(judge)) return scorer;
  return judge;
}

/// Whether the network that judges also chose among the arm's noises.
bool Protocol::chose(const std::string& judge, const Arm& arm) const {
  const std::vector<std::string> choosing = choosing_scorers(arm);
  return std::any_of(choosing.begin(), choosing.end(), [&](const std::string& scorer) {
    return sampler_.scorer_identity(scorer) == sampler_.scorer_identity(judge);
  });
}

void Protocol::plan_baselines() {
  const ArmSummary plain = measured(0);
  const double per_step = plain.evaluations / plain.steps;
  const auto with_settings = [&](std::optional<int> steps, std::optional<double> guidance) {
    if (steps == plain.steps) steps.reset();
    if (guidance == plain.guidance) guidance.reset();
    std::string name = "plain";
    if (steps) name += fmt::format(":steps={}", *steps);
    if (guidance) name += fmt::format("{}guidance={}", steps ? "," : ":", *guidance);
    return Arm{.name = name, .steps = steps, .guidance = guidance};
  };
  for (const size_t method : methods_) {
    const ArmSummary own = measured(method);
    const int steps = std::max(1, static_cast<int>(std::lround(own.evaluations / per_step)));
    const int candidates = std::max(1, static_cast<int>(std::lround(own.evaluations / plain.evaluations)));
    for (const std::string& scorer : request_.scorers) {
      match(method, {}, Baseline::Plain, scorer);
      if (!std::isnan(own.signed_scale))
        match(method, with_settings({}, rounded_scale(own.signed_scale)), Baseline::MatchedGuidance, scorer);
      match(method, with_settings(steps, {}), Baseline::MatchedEvaluations, scorer);
      Arm best;
      if (candidates > 1)
        best = {.name = fmt::format("best of {} by {}", candidates, other_scorer(scorer)),
                .candidates = candidates,
                .selector = other_scorer(scorer)};
      match(method, best, Baseline::BestOfK, scorer);
    }
  }
}

/// Adds a comparison, or says why the model cannot sample its baseline.
void Protocol::match(size_t method, Arm baseline, Baseline kind, const std::string& scorer) {
  try {
    sampler_.settings(baseline);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::InvalidArgument) throw;
    omitted_.push_back(
        fmt::format("'{}' against {} ({}): {}", arms_[method].name, enum_name(kind), scorer, error.what()));
    return;
  }
  matches_.push_back(
      {.method = method, .baseline = add(std::move(baseline)), .kind = kind, .scorer = scorer});
}

void Protocol::report(size_t arm) {
  if (request_.progress)
    request_.progress(
        {.done = done_, .resumed = resumed_, .total = total_, .whole = planned_, .arm = arms_[arm].name});
}

void Protocol::sample_unit(size_t arm, int64_t first, bool measure) {
  const std::string key = arms_[arm].key();
  const int64_t size = std::min(unit_size(), pairs() - first);
  if (const UnitResult* known = journal_.find(key, first, measure)) {
    GLINT_CHECK(static_cast<int64_t>(known->pairs.size()) == size, BadModel,
                "folder: the journal has {} pictures of pairs {} to {} of '{}'", known->pairs.size(), first,
                first + size - 1, arms_[arm].name);
    done_ += size;
    resumed_ += size;
    return;
  }
  const UnitResult unit = [&] {
    try {
      return sampler_.sample(arms_[arm], first, size, measure);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::Cancelled) throw;
      fail(error.code(), "'{}': {}", arms_[arm].name, error.what());
    }
  }();
  journal_.add(key, unit);
  done_ += size;
  report(arm);
}

/// Samples this process's share of the arms. Shares alternate, so that each has some of every arm. The scales
/// of methods are measured, those of baselines follow from them.
void Protocol::sample(size_t first, size_t last, bool methods) {
  std::vector<std::pair<size_t, int64_t>> share;
  int64_t unit = 0;
  for (size_t arm = first; arm < last; ++arm)
    for (int64_t pair = 0; pair < pairs(); pair += unit_size(), ++unit)
      if (unit % request_.share.ranks == request_.share.rank) share.emplace_back(arm, pair);
  for (const auto& [arm, pair] : share) total_ += std::min(unit_size(), pairs() - pair);
  for (const auto& [arm, pair] : share) sample_unit(arm, pair, methods && measured_unit(pair));
}

/// Waits until the other processes have done their shares.
void Protocol::await(size_t first, size_t last, bool methods) {
  using Clock = std::chrono::steady_clock;
  std::vector<Clock::time_point> seen(static_cast<size_t>(request_.share.ranks), Clock::now());
  int64_t unit = 0;
  for (size_t arm = first; arm < last; ++arm) {
    for (int64_t pair = 0; pair < pairs(); pair += unit_size(), ++unit) {
      const auto owner = static_cast<size_t>(unit % request_.share.ranks);
      const bool measure = methods && measured_unit(pair);
      while (!journal_.find(arms_[arm].key(), pair, measure)) {
        Observer* observer = request_.generate.observer;
        GLINT_CHECK(!observer || observer->keep_going(), Cancelled, "the evaluation was cancelled");
        if (journal_.is_running(static_cast<int64_t>(owner))) seen[owner] = Clock::now();
        journal_.refresh();
        const double absent = std::chrono::duration<double>(Clock::now() - seen[owner]).count();
        GLINT_CHECK(absent <= request_.share.patience || journal_.find(arms_[arm].key(), pair, measure),
                    Internal,
                    "rank {} of {} does not run and its share is not done; the same command goes on where "
                    "this one stopped",
                    owner, request_.share.ranks);
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    }
  }
}

EvalResult Protocol::run() {
  const size_t methods = arms_.size();
  sample(0, methods, true);
  await(0, methods, true);
  plan_baselines();
  planned_ = true;
  sample(methods, arms_.size(), false);
  EvalResult result{.pairs = pairs(), .resumed = resumed_};
  if (request_.share.rank != 0) return result;
  await(methods, arms_.size(), false);
  for (size_t arm = 0; arm < arms_.size(); ++arm) result.arms.push_back(summary(arm));
  for (const Match& match : matches_) result.comparisons.push_back(compare(match));
  for (const std::string& scorer : request_.scorers) {
    std::vector<double> p;
    for (const Comparison& row : result.comparisons)
      if (row.scorer == scorer) p.push_back(row.p);
    const std::vector<double> adjusted = holm(p);
    size_t next = 0;
    for (Comparison& row : result.comparisons)
      if (row.scorer == scorer) row.p_holm = adjusted[next++];
  }
  result.omitted = omitted_;
  result.complete = true;
  return result;
}

std::vector<const PairResult*> Protocol::pairs_of(size_t arm) const {
  std::vector<const PairResult*> all;
  for (int64_t first = 0; first < pairs(); first += unit_size())
    for (const PairResult& pair : journal_.find(arms_[arm].key(), first, false)->pairs) all.push_back(&pair);
  return all;
}

std::vector<double> Protocol::scores_of(size_t arm, const std::string& scorer) const {
  const auto place = static_cast<size_t>(std::find(request_.scorers.begin(), request_.scorers.end(), scorer) -
                                         request_.scorers.begin());
  std::vector<double> scores;
  for (const PairResult* pair : pairs_of(arm)) scores.push_back(pair->scores[place]);
  return scores;
}

/// Returns what an arm costs and amounts to, without its scores.
ArmSummary Protocol::measured(size_t arm) const {
  const std::vector<const PairResult*> all = pairs_of(arm);
  const ArmSettings settings = sampler_.settings(arms_[arm]);
  ArmSummary result{.arm = arms_[arm], .steps = settings.steps, .guidance = settings.guidance};
  int64_t rows = 0;
  for (int64_t first = 0; first < pairs(); first += unit_size()) {
    const UnitResult& unit = *journal_.find(arms_[arm].key(), first, false);
    rows += unit.rows;
    result.seconds += unit.seconds;
  }
  result.evaluations = static_cast<double>(rows) / static_cast<double>(all.size());
  std::vector<const PairResult*> measured;  // and not more, should an arm have been measured further
  for (size_t pair = 0; pair < all.size(); ++pair)
    if (measured_unit(static_cast<int64_t>(pair) / unit_size() * unit_size())) measured.push_back(all[pair]);
  result.signed_scale = mean_of_measured(measured, &PairResult::signed_scale);
  result.unsigned_scale = mean_of_measured(measured, &PairResult::unsigned_scale);
  result.orthogonal = mean_of_measured(measured, &PairResult::orthogonal);
  result.saturation = mean_of_measured(all, &PairResult::saturation);
  result.contrast = mean_of_measured(all, &PairResult::contrast);
  result.diversity = diversity(all, request_.seeds);
  return result;
}

ArmSummary Protocol::summary(size_t arm) const {
  ArmSummary result = measured(arm);
  for (const std::string& scorer : request_.scorers) {
    const std::vector<double> scores = scores_of(arm, scorer);
    result.scores[scorer] =
        ScoreSummary{.mean = mean(scores), .interval = bootstrap_interval(scores, request_.seeds)};
  }
  return result;
}

Comparison Protocol::compare(const Match& match) const {
  const std::vector<double> scores = scores_of(match.method, match.scorer),
                            baseline = scores_of(match.baseline, match.scorer);
  std::vector<double> differences;
  for (size_t i = 0; i < scores.size(); ++i) differences.push_back(scores[i] - baseline[i]);
  return {.method = match.method,
          .baseline = match.baseline,
          .kind = match.kind,
          .scorer = match.scorer,
          .wins = win_rate(scores, baseline, request_.seeds),
          .difference = ScoreSummary{.mean = mean(differences),
                                     .interval = bootstrap_interval(differences, request_.seeds)},
          .p = randomization_p(differences, request_.seeds),
          .judge_chose_method = chose(match.scorer, arms_[match.method]),
          .judge_chose_baseline = chose(match.scorer, arms_[match.baseline])};
}

}  // namespace glint::detail
