// Base of the rules that combine the conditional and unconditional predictions.
#pragma once

#include <glint/core/options.hpp>
#include <glint/guidance/guidance_rule.hpp>
#include <glint/guidance/per_sample.hpp>

namespace glint {

/// A rule that always evaluates the conditional and unconditional branches.
class DifferenceRule : public GuidanceRule {
 public:
  BranchSet branches(const StepPosition&) const override { return {.cond = true, .uncond = true}; }
};

/// The `scale` option of every guidance rule, which `--guidance` sets.
inline constexpr Field kScaleField{
    .help = "guidance scale; in a pipeline it defaults to the request's, then the model's",
    .minimum = -100,
    .maximum = 1000};

}  // namespace glint
