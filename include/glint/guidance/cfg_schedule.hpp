// Classifier-free guidance with a per-step scale.
#pragma once

#include <glint/guidance/cfg.hpp>

#include <charconv>
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

  static double number(std::string_view text, const std::string& all) {
    double value = 0.0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    GLINT_CHECK(error == std::errc() && end == text.data() + text.size() && std::isfinite(value),
                InvalidArgument,
                "cfg-schedule.scales: expected SCALE[xSTEPS]+..., as in 7.5x10+4x18, got '{}'", all);
    return value;
  }

  static std::vector<Cfg> parse(const std::string& text) {
    std::vector<Cfg> steps;
    for (std::string_view rest = text;;) {
      const std::string_view item = rest.substr(0, rest.find('+'));
      const size_t times = item.find('x');
      const double scale = number(item.substr(0, times), text);
      const double count = times == std::string_view::npos ? 1.0 : number(item.substr(times + 1), text);
      GLINT_CHECK(count >= 1 && count <= 100000 && count == std::floor(count), InvalidArgument,
                  "cfg-schedule.scales: expected 1 to 100000 steps of a scale, got {} in '{}'", count, text);
      steps.insert(steps.end(), static_cast<size_t>(count), Cfg(scale));
      if (item.size() == rest.size()) return steps;
      rest.remove_prefix(item.size() + 1);
    }
  }

  std::vector<Cfg> steps_;
};

}  // namespace glint
