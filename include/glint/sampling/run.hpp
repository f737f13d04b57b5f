// The state of one request, shared by the sampling loop, its solver and its strategies.
#pragma once

#include <glint/core/rng.hpp>
#include <glint/core/schedule.hpp>
#include <glint/export.hpp>
#include <glint/sampling/observer.hpp>
#include <glint/sampling/predictor.hpp>
#include <glint/sampling/step_cache.hpp>

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace glint {

namespace detail {
struct Branch;
}

/// A guided prediction and the raw outputs behind it.
struct Prediction {
  at::Tensor output;
  BranchOutputs branches;
};

/// Makes guided predictions, counts their cost and honours cancellation. All mutable state of a run lives
/// here or in the loop's locals.
/// Thread:  owned by one run on one thread.
class GLINT_API Run {
 public:
  Run(const NoiseSchedule& schedule, const Prompt& prompt, NoiseStream noise, Observer* observer)
      : schedule_(schedule), prompt_(prompt), noise_(std::move(noise)), observer_(observer) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  const NoiseSchedule& schedule() const { return schedule_; }
  const Prompt& prompt() const { return prompt_; }
  NoiseStream& noise() { return noise_; }
  Observer* observer() const { return observer_; }

  /// Returns the predictor's guided raw output for x, evaluated as if x were at `level`. `memory` is its
  /// rule's state along one trajectory, from GuidanceRule::begin(); without it the prediction stands alone,
  /// as in reflections.
  /// Cost:    one model call, plus one if the rule's weak branch has its own model; B rows per branch needed
  ///          at this step.
  /// Errors:  Cancelled if the observer asks to stop; whatever the model throws.
  at::Tensor predict(const Predictor& predictor, const at::Tensor& x, const Level& level, int step,
                     GuidanceState* memory = nullptr);

  /// Returns each predictor's prediction for the same x. Branches that coincide (same model, adapters and
  /// conditioning) are evaluated once; branches of one model with the same adapters share a call. `memory`
  /// and `also`, which requests extra raw outputs, apply to the first predictor; the others stand alone.
  /// `cache` may spare evaluations; it knows predictor i by the number `names[i]`, i if there are none.
  /// Errors:  as the overload above.
  std::vector<Prediction> predict(std::span<const Predictor> predictors, const at::Tensor& x,
                                  const Level& level, int step, GuidanceState* memory = nullptr,
                                  BranchSet also = {.cond = false}, CacheMemory* cache = nullptr,
                                  std::span<const int> names = {});

  /// Reports one value per sample, [B], under `name` in the current stage.
  void report(std::string_view name, const at::Tensor& values);
  void report(std::string_view name, std::span<const double> values);
  const Reports& reports() const { return reports_; }

  /// Evaluations in total, and by stage ("denoise" or a strategy's name).
  const Usage& total() const { return total_; }
  const std::map<std::string, Usage, std::less<>>& by_stage() const { return by_stage_; }

  /// Charges calls, rows and time to `name` while alive, except those of nested stages.
  class Stage {
   public:
    Stage(Run& run, std::string_view name, int step);
    ~Stage();
    Stage(const Stage&) = delete;
    Stage& operator=(const Stage&) = delete;

   private:
    Run& run_;
    Usage* outer_;
    std::string_view outer_stage_;
  };

 private:
  void evaluate(std::span<detail::Branch> branches, const at::Tensor& x, const Level& level);
  void evaluate_cached(std::span<detail::Branch> branches, const at::Tensor& x, const Level& level,
                       const StepPosition& position, CacheMemory& cache);
  void evaluate_samples(std::span<detail::Branch> branches, const at::Tensor& x, const Level& level,
                        const std::vector<int64_t>& samples);
  void charge_time();

  const NoiseSchedule& schedule_;
  const Prompt& prompt_;
  NoiseStream noise_;
  Observer* observer_;
  Usage total_;
  std::map<std::string, Usage, std::less<>> by_stage_;
  Reports reports_;
  Usage* current_ = nullptr;
  std::string_view stage_ = {};
  double segment_start_ = 0.0;
};

}  // namespace glint
