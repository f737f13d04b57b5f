// Base of the caches that spare the unconditional branch and estimate it from the conditional one.
#pragma once

#include <glint/core/options.hpp>
#include <glint/core/schedule.hpp>
#include <glint/sampling/predictor.hpp>
#include <glint/sampling/step_cache.hpp>

#include <algorithm>
#include <map>

namespace glint {

/// A state with one `Memory` per predictor that evaluates both branches; all other branches always run.
template <typename Memory>
class UnconditionalState : public CacheState {
 public:
  std::vector<bool> runs(const CachedStep& step, std::span<const BranchKey> branches) final {
    std::vector<bool> answer;
    for (const BranchKey& key : branches)
      answer.push_back(key.role != BranchKey::Role::Uncond || partner(branches, key) == branches.size() ||
                       network_runs(step, memory_[key.predictor]));
    return answer;
  }

  void complete(const CachedStep& step, std::span<const BranchKey> branches,
                std::span<at::Tensor> outputs) final {
    for (size_t i = 0; i < branches.size(); ++i) {
      const size_t cond = partner(branches, branches[i]);
      if (branches[i].role != BranchKey::Role::Uncond || cond == branches.size()) continue;
      Memory& memory = memory_[branches[i].predictor];
      if (outputs[i].defined())
        remember(memory, step, outputs[cond], outputs[i]);
      else
        outputs[i] = estimate(memory, step, outputs[cond]);
    }
  }

 protected:
  virtual bool network_runs(const CachedStep& step, const Memory& memory) = 0;
  virtual void remember(Memory& memory, const CachedStep& step, const at::Tensor& cond,
                        const at::Tensor& uncond) = 0;
  virtual at::Tensor estimate(Memory& memory, const CachedStep& step, const at::Tensor& cond) = 0;

 private:
  /// Returns the index of the conditional branch of the same predictor, or the number of branches.
  static size_t partner(std::span<const BranchKey> branches, const BranchKey& key) {
    const BranchKey cond{key.predictor, BranchKey::Role::Cond};
    return static_cast<size_t>(std::find(branches.begin(), branches.end(), cond) - branches.begin());
  }

  std::map<int, Memory> memory_;
};

/// Throws InvalidArgument unless some step of the run evaluates the unconditional branch beside another.
inline void check_spares_unconditional(std::string_view cache, const NoiseSchedule& schedule,
                                       const Predictor& predictor) {
  for (int i = 0; i < schedule.steps(); ++i) {
    const BranchSet set = predictor.branches({i, schedule.steps()});
    if (set.cond && set.uncond) return;
  }
  fail(ErrorCode::InvalidArgument,
       "{}: expected a rule that evaluates the negative prompt beside the prompt, but this run's never does: "
       "there is nothing to spare",
       cache);
}

}  // namespace glint
