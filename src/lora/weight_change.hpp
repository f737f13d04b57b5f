// What one change of an adapter makes of a weight.
#pragma once

#include <glint/lora/adapter.hpp>

namespace glint::detail {

/// Returns false if the change leaves every weight as it is at every scale.
bool has_effect(const WeightChange& change);

/// Adds to `sum` [rows,columns] what the change alone makes of the weight `base`, at this scale. `sum` is in
/// at least float32, is contiguous and is the weight, flattened, plus the changes so far.
/// Cost:    see AdaptedNetwork::at.
void add_change(at::Tensor& sum, const at::Tensor& base, const WeightChange& change, double scale);

}  // namespace glint::detail
