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

/// Returns the numbers of the attention layers of a rewritten, frozen module whose keys and values depend on
/// the values of input number `tokens` of `inputs` and of no other; weights may follow the inputs. None if a
/// layer's mask may matter, or a layer stands in a branch or loop.
std::vector<int64_t> text_layers(const torch::jit::Module& module, size_t tokens, size_t inputs);

/// Reduces `forward` to those keys and values: a tuple of both, layer by layer. Nothing else runs.
void keep_text_part(torch::jit::Module& module, size_t tokens, size_t inputs);

}  // namespace glint::detail
