// The state of one request: what is shared by the loop, its solver and its strategies while it lasts.
#pragma once

#include <glint/core/rng.hpp>
#include <glint/core/schedule.hpp>
#include <glint/export.hpp>
#include <glint/sampling/observer.hpp>
#include <glint/sampling/predictor.hpp>

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace glint {

namespace detail {
struct Branch;
}

/// A guided prediction, and the raw outputs it was made from.
struct Prediction {
  at::Tensor output;
  BranchOutputs branches;
};

/// Counts, cancels, and makes guided predictions. Everything mutable about a run is here or in the loop's
/// locals.
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

  /// Returns the predictor's guided raw output for x, evaluated as if x were at `level`. `memory` is the
  /// state of its rule along one trajectory, from GuidanceRule::begin(); without it the prediction stands
  /// alone, as a reflection's do.
  /// Cost:    one model call, and one more if the rule's weak branch has a model of its own; B rows for each
  ///          branch the rule asks for at this step.
  /// Errors:  Cancelled if the observer says stop; whatever the model throws.
  at::Tensor predict(const Predictor& predictor, const at::Tensor& x, const Level& level, int step,
                     GuidanceState* memory = nullptr);

  /// Returns what each predictor predicts for the same x. What they have in common (the same model, adapters
  /// and conditioning) is evaluated once; branches of one model with the same adapters are one call. `memory`
  /// and `also`, which adds to the raw outputs returned, are the first predictor's; the others stand alone.
  /// Errors:  as predict.
  std::vector<Prediction> predict(std::span<const Predictor> predictors, const at::Tensor& x,
                                  const Level& level, int step, GuidanceState* memory = nullptr,
                                  BranchSet also = {.cond = false});

  /// Adds one value per sample, [B], to the run's report under `name` of the current stage.
  void report(std::string_view name, const at::Tensor& values);
  const Reports& reports() const { return reports_; }

  /// Returns evaluations in total, and by who asked for them ("denoise", or a strategy's name).
  const Usage& total() const { return total_; }
  const std::map<std::string, Usage, std::less<>>& by_stage() const { return by_stage_; }

  /// Charges calls, rows and time until its destruction to `name`; an inner stage's are its own alone.
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
