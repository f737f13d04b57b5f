// What the rules that start from the conditional and the unconditional prediction have in common.
#pragma once

#include <glint/core/options.hpp>
#include <glint/guidance/guidance_rule.hpp>
#include <glint/guidance/per_sample.hpp>

namespace glint {

/// A rule that always evaluates the prompt and the negative prompt.
class DifferenceRule : public GuidanceRule {
 public:
  BranchSet branches(const StepPosition&) const override { return {.cond = true, .uncond = true}; }
};

/// The option every guidance rule has: what `--guidance` sets.
inline constexpr Field kScaleField{
    .help = "guidance scale; a pipeline's default is the request's, or else the model's",
    .minimum = -100,
    .maximum = 1000};

}  // namespace glint
