// Whether a request fits the bundle's memory limit.
#pragma once

#include <glint/bundle/bundle.hpp>
#include <glint/pipeline/request.hpp>

namespace glint::detail {

/// Throws if the weights that a stage of the run needs at one time are above the bundle's memory_limit. Loads
/// nothing. What methods load is checked when it is loaded.
/// Errors:  OutOfMemory naming the stage's components.
void check_memory(const GenerateRequest& request, const Bundle& bundle);

}  // namespace glint::detail
