// Turns the tensors of one layer in an adapter file into changes of its weight and bias.
#pragma once

#include "lora/adapter_settings.hpp"

#include <glint/lora/adapter.hpp>

#include <map>
#include <string>
#include <vector>

namespace glint::detail {

/// The parts of one layer in a file.
struct LayerParts {
  AdapterKey key;
  std::map<AdapterPart, at::Tensor> tensors = {};
};

/// Returns the layer's changes; none if it has but an alpha.
/// Errors:  BadModel, naming the file and the layer, for missing parts, shapes that do not fit together and
///          tensors that are not floating-point.
std::vector<WeightChange> layer_changes(const LayerParts& parts, const AdapterSettings& settings,
                                        const std::string& file);

}  // namespace glint::detail
