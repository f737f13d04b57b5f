// The part of a network that makes the keys and values of its attention layers from the prompt's tokens
// alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace torch::jit {
struct Module;
}

namespace glint::detail {

/// Returns whether a rewritten, frozen module has attention layers whose keys and values depend on the values
/// of input number `tokens` of `inputs` and of no other; weights may follow the inputs. Not if such a layer
/// has a mask, or any layer stands in a branch or loop.
bool has_text_part(const torch::jit::Module& module, size_t tokens, size_t inputs);

/// Reduces `forward` to those keys and values, a tuple of both layer by layer, and returns the layers'
/// numbers. Nothing else runs.
std::vector<int64_t> keep_text_part(torch::jit::Module& module, size_t tokens, size_t inputs);

}  // namespace glint::detail
