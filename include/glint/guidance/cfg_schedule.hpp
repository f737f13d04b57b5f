// Classifier-free guidance with a per-step scale.
#pragma once

#include <glint/core/number_list.hpp>
#include <glint/guidance/cfg.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace glint {

struct CfgScheduleOptions {
  std::string scales = "5";

  static void fields(auto& visit, auto& o) {
    visit(
        "scales", o.scales,
        Field{
            .help =
                "per-step scales: \"7.5x10+4x18\" is 10 steps at 7.5, then 18 at 4; the last one persists"});
  }
};

/// Predicts uncond + w_i (cond - uncond) with w_i from a list; steps past its end use the last scale.
/// Cost:    2 rows per sample and step; 1 where the scale is 0 or 1.
/// Errors:  InvalidArgument for a malformed list.
/// Source:  Wang et al., "Analysis of Classifier-Free Guidance Weight Schedulers", arXiv:2404.13040.
class CfgSchedule final : public GuidanceRule {
 public:
  using Options = CfgScheduleOptions;
  static constexpr EntryInfo info{.kind = "rule",
                                  .name = "cfg-schedule",
                                  .summary = "classifier-free guidance with a per-step scale",
                                  .cost = "2 N rows, one less per step at scale 0 or 1",
                                  .source = "Wang et al. 2024, arXiv:2404.13040"};

  explicit CfgSchedule(const CfgScheduleOptions& options) : steps_(parse(options.scales)) {}

  BranchSet branches(const StepPosition& position) const override { return at(position).branches(position); }
  at::Tensor combine(const BranchOutputs& outputs, const GuidanceStep& step,
                     GuidanceState* state) const override {
    return at(step.position).combine(outputs, step, state);
  }

 private:
  const Cfg& at(const StepPosition& position) const {
    return steps_[(std::min)(static_cast<size_t>(position.step), steps_.size() - 1)];
  }

  static std::vector<Cfg> parse(const std::string& text) {
    std::vector<Cfg> steps;
    for (double scale : parse_numbers("cfg-schedule.scales", text)) steps.emplace_back(scale);
    return steps;
  }

  std::vector<Cfg> steps_;
};

}  // namespace glint
