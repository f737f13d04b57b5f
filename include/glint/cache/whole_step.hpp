// Base of the caches that spare whole steps: either every branch of a prediction runs, or none.
#pragma once

#include <glint/core/options.hpp>
#include <glint/core/schedule.hpp>
#include <glint/sampling/step_cache.hpp>

#include <map>

namespace glint {

/// A state with one `Memory` per branch. The first branch, normally the conditional one, decides for all of
/// them; a branch that has not run before, or not often enough, runs by itself.
template <typename Memory>
class WholeStepState : public CacheState {
 public:
  std::vector<bool> runs(const CachedStep& step, std::span<const BranchKey> branches) final {
    const bool all = network_runs(step, memory_[branches.front()]);
    std::vector<bool> answer;
    for (const BranchKey& key : branches) answer.push_back(all || !can_reuse(memory_[key]));
    return answer;
  }

  void complete(const CachedStep& step, std::span<const BranchKey> branches,
                std::span<at::Tensor> outputs) final {
    for (size_t i = 0; i < branches.size(); ++i) {
      Memory& memory = memory_[branches[i]];
      if (outputs[i].defined())
        remember(memory, step, outputs[i]);
      else
        outputs[i] = reuse(memory, step);
    }
  }

 protected:
  /// Returns whether the network runs at this step, asked once per step with the deciding branch's memory.
  virtual bool network_runs(const CachedStep& step, const Memory& anchor) = 0;
  /// Returns whether the memory suffices for reuse().
  virtual bool can_reuse(const Memory& memory) const = 0;
  virtual void remember(Memory& memory, const CachedStep& step, const at::Tensor& output) = 0;
  virtual at::Tensor reuse(const Memory& memory, const CachedStep& step) const = 0;

 private:
  std::map<BranchKey, Memory> memory_;
};

}  // namespace glint
