// Interface of a cache over steps: at some steps the network does not run, and its outputs are estimated from
// those of earlier steps.
#pragma once

#include <glint/core/parameterization.hpp>
#include <glint/guidance/guidance_rule.hpp>

#include <compare>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

struct Predictor;
class NoiseSchedule;

/// Which output of a prediction a branch is; the same at every step of a run.
struct BranchKey {
  enum class Role { Cond, Uncond, Weak };

  int predictor = 0;  ///< 0 = the run's own; the others belong to its prediction terms
  Role role = Role::Cond;

  friend auto operator<=>(const BranchKey&, const BranchKey&) = default;
};

/// A prediction along one sample's trajectory.
struct CachedStep {
  StepPosition position;
  const Level& level;
  Parameterization parameterization;
  const at::Tensor& x;  ///< [1,...]
};

/// A cache's memory of one sample's trajectory, for one of the predictions that the solver makes in a step.
/// Samples never share a state, so what is computed for one does not depend on its batch.
class CacheState {
 public:
  virtual ~CacheState() = default;

  /// Returns, for each branch that the prediction needs, whether the network runs. The first branch is the
  /// conditional one, unless the rule does without it.
  virtual std::vector<bool> runs(const CachedStep& step, std::span<const BranchKey> branches) = 0;

  /// Remembers the outputs of the branches that ran, each [1,...], and fills in the others, which are
  /// undefined. Called after runs(), unless a network failed.
  virtual void complete(const CachedStep& step, std::span<const BranchKey> branches,
                        std::span<at::Tensor> outputs) = 0;

  /// Returns figures worth reporting at the end of the run, by name.
  virtual std::map<std::string, std::vector<double>> figures() const { return {}; }
};

/// Saves network evaluations of the accepted steps; those of strategies (reflections, noise selection) always
/// run. Immutable; all memory lies in CacheState, made anew for every request.
/// Thread:  const calls are safe concurrently.
class StepCache {
 public:
  virtual ~StepCache() = default;

  /// Returns the name under which reports are listed.
  virtual std::string_view name() const = 0;

  /// Returns the memory of one sample's trajectory, empty.
  virtual std::unique_ptr<CacheState> begin() const = 0;

  /// Called when a sampler is built. Throws InvalidArgument, with the reason, if the cache does not suit it.
  virtual void validate(const NoiseSchedule& /*schedule*/, const Predictor& /*predictor*/) const {}
};

/// The states of one request: a state per sample and per prediction of a step.
class CacheMemory {
 public:
  CacheMemory(const StepCache& cache, int64_t batch)
      : cache_(cache), spared_(static_cast<size_t>(batch), 0.0) {}

  void begin_step() { prediction_ = 0; }

  /// Returns the samples' states for the step's next prediction. A solver's second prediction of a step
  /// continues that of the step before, so each is a sequence with one element per step.
  std::span<const std::unique_ptr<CacheState>> next() {
    if (prediction_ == states_.size()) {
      states_.emplace_back();
      for (size_t b = 0; b < spared_.size(); ++b) states_.back().push_back(cache_.begin());
    }
    return states_[prediction_++];
  }

  /// Returns the states of the steps' first predictions; empty before the first.
  std::span<const std::unique_ptr<CacheState>> first() const {
    return states_.empty() ? std::span<const std::unique_ptr<CacheState>>() : states_.front();
  }

  void spare(size_t sample) { spared_[sample] += 1.0; }
  /// Returns the network evaluations spared so far, one value per sample.
  const std::vector<double>& spared() const { return spared_; }

 private:
  const StepCache& cache_;
  std::vector<std::vector<std::unique_ptr<CacheState>>> states_;
  size_t prediction_ = 0;
  std::vector<double> spared_;
};

}  // namespace glint
