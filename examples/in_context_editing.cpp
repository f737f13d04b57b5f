// In-context sparse attention (ISA) on a video network: the tokens of the video that is made, then those of
// the video it is edited from, in one sequence. Both have a rotary table that begins at position 0; the
// network concatenates them.
//
//   in_context_editing [NETWORK.pt [FRAMES HEIGHT WIDTH]]      sizes of the latents
//
// The default is a tiny network of Wan's shape with random weights. tools/bench/attention_models.py writes
// one of Wan 1.3B's width.
#include <glint/attention/token_order.hpp>
#include <glint/core/error.hpp>
#include <glint/core/rng.hpp>
#include <glint/network/network.hpp>
#include <glint/ops/attention_scope.hpp>

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace {

/// One call of the network under a policy.
at::Tensor run(const glint::Network& network, const std::vector<at::Tensor>& inputs,
               const glint::AttentionPolicy& policy, const char* name) {
  const glint::AttentionScope scope(policy);
  const auto start = std::chrono::steady_clock::now();
  at::Tensor output = network.run(inputs).front();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%-6s %8.3f s   %lld of %lld attentions sparse\n", name, seconds,
              static_cast<long long>(scope.sparse_calls()), static_cast<long long>(scope.calls()));
  return output;
}

int edit(const char* file, int64_t frames, int64_t height, int64_t width, int64_t text_width) {
  const auto network = glint::load_network(file, glint::Backend::TorchScript);
  glint::NoiseStream latents(1, 1), context(2, 1), text(3, 1);

  // Video tokens in patches of 4 x 4 x 4, so that a block of 64 is a small piece of the video. The network
  // brings both videos into this order and undoes it at the end.
  const at::Tensor order = at::tensor(glint::token_order(frames, height / 2, width / 2));
  const std::vector<at::Tensor> inputs{latents.normal({16, frames, height, width}), at::full({1}, 500.0f),
                                       text.normal({16, text_width}), order,
                                       context.normal({16, frames, height, width})};

  // Half of the tokens are main ones, which is what main_length 0 says. Every layer is sparse, as in the
  // paper.
  const glint::AttentionPolicy isa{
      .kind = glint::AttentionKind::Isa, .first_dense_layers = 0, .min_tokens = 256};
  std::printf("%lld main tokens and as many of context\n", static_cast<long long>(order.numel()));
  const at::Tensor dense = run(*network, inputs, {}, "dense");
  const at::Tensor sparse = run(*network, inputs, isa, "isa");
  std::printf("relative difference of the predictions: %.4f\n",
              sparse.sub(dense).norm().item<double>() / dense.norm().item<double>());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 5) return edit(argv[1], std::atoll(argv[2]), std::atoll(argv[3]), std::atoll(argv[4]), 4096);
    return edit(argc > 1 ? argv[1] : "tests/data/modules/wan_editing.pt", 4, 16, 32, argc > 1 ? 4096 : 48);
  } catch (const glint::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
