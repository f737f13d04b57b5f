// What sparse attention gains of a whole forward pass, on the networks that tools/bench/attention_models.py
// writes.
//
//   attention_end_to_end FOLDER [KIND[:FRAMESxHEIGHTxWIDTH]...]      KIND: flux, wan, wan_editing; sizes of
//   the latents
//
// One thread count: OMP_NUM_THREADS. Times are the best of two passes, the policies interleaved.
#include <glint/attention/gain.hpp>
#include <glint/attention/token_order.hpp>
#include <glint/core/error.hpp>
#include <glint/core/rng.hpp>
#include <glint/network/network.hpp>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <numeric>

namespace glint {
namespace {

struct Size {
  int64_t frames, height, width;
};

struct Measured {
  double seconds = 1e30, attention = 0.0;  ///< of the pass, and of its self-attentions
  double bound = 1.0;                      ///< of the self-attentions
  int64_t tokens = 0;
  at::Tensor output;
};

/// The network's inputs in its order. Weights are random, so anything of the right shape is as good as a
/// prompt.
std::vector<at::Tensor> inputs_of(const std::string& kind, const Size& s, bool patches) {
  const auto normal = [](uint64_t seed, std::vector<int64_t> shape) {
    return NoiseStream(seed, 1).normal(shape);
  };
  const int64_t rows = s.height / 2, columns = s.width / 2;
  const at::Tensor order = patches ? at::tensor(token_order(s.frames, rows, columns)) : at::tensor([&] {
    std::vector<int64_t> raster(static_cast<size_t>(s.frames * rows * columns));
    std::iota(raster.begin(), raster.end(), int64_t{0});
    return raster;
  }());
  const at::Tensor time = at::full({1}, 500.0f);
  if (kind == "flux")
    return {normal(1, {16, s.height, s.width}),
            time,
            normal(2, {512, 4096}),
            normal(3, {768}),
            at::full({1}, 3.5f),
            order};
  std::vector<at::Tensor> inputs{normal(1, {16, s.frames, s.height, s.width}), time, normal(2, {512, 4096}),
                                 order};
  if (kind == "wan_editing") inputs.push_back(normal(4, {16, s.frames, s.height, s.width}));
  return inputs;
}

void measure(const Network& network, const std::vector<at::Tensor>& inputs, const AttentionPolicy& policy,
             Measured& best) {
  std::vector<AttentionCall> calls;
  const AttentionScope scope(policy, &calls);
  const auto start = std::chrono::steady_clock::now();
  const at::Tensor output = network.run(inputs).front();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (seconds >= best.seconds) return;
  best = {.seconds = seconds, .output = output};
  for (const AttentionCall& call : calls) {
    if (call.queries != call.keys) continue;  // cross attention
    best.attention += call.seconds;
    best.tokens = call.queries;
    best.bound = gain_bound(policy, call);
  }
}

void compare(const std::filesystem::path& folder, const std::string& kind, const Size& size) {
  const auto file = folder / (kind + ".pt");
  const auto inputs = inputs_of(kind, size, true);
  const AttentionPolicy pisa{.kind = AttentionKind::Pisa, .first_dense_layers = 0};
  const AttentionPolicy isa{.kind = AttentionKind::Isa, .first_dense_layers = 0};
  std::vector<std::pair<const char*, AttentionPolicy>> policies{{"dense", {}}, {"pisa", pisa}};
  if (kind == "wan_editing") policies.emplace_back("isa", isa);

  const auto network = load_network(file, Backend::TorchScript);
  std::map<std::string, Measured> results;
  for (int pass = 0; pass < 2; ++pass)
    for (const auto& [name, policy] : policies) measure(*network, inputs, policy, results[name]);
  const bool identical = [&] {
    const auto original = load_network(file, Backend::TorchScript, {.attention = false});
    return at::equal(original->run(inputs).front(), results["dense"].output);
  }();

  const Measured& dense = results["dense"];
  for (const auto& [name, policy] : policies) {
    const Measured& r = results[name];
    const double error =
        r.output.sub(dense.output).norm().item<double>() / dense.output.norm().item<double>();
    fmt::print("| {} | {} | {} | {:.2f} | {:.0f} % | {:.2f}x | {:.2f}x | {:.2f}x | {:.4f} |\n", kind,
               r.tokens, name, r.seconds, 100.0 * r.attention / r.seconds, dense.seconds / r.seconds,
               dense.attention / r.attention, r.bound, error);
  }
  fmt::print("{}: policy dense and the module as exported are {}\n", kind,
             identical ? "bit-identical" : "DIFFERENT");
  std::fflush(stdout);
}

Size size_in(const std::string& text, const std::string& kind) {
  Size size = kind == "flux" ? Size{1, 128, 128} : kind == "wan" ? Size{9, 60, 64} : Size{5, 60, 64};
  if (const auto colon = text.find(':'); colon != std::string::npos)
    GLINT_CHECK(
        std::sscanf(text.c_str() + colon, ":%ldx%ldx%ld", &size.frames, &size.height, &size.width) == 3,
        InvalidArgument, "'{}': expected KIND:FRAMESxHEIGHTxWIDTH", text);
  return size;
}

}  // namespace
}  // namespace glint

int main(int argc, char** argv) {
  const at::NoGradGuard no_gradients;
  try {
    GLINT_CHECK(argc > 1, InvalidArgument,
                "usage: attention_end_to_end FOLDER [KIND[:FRAMESxHEIGHTxWIDTH]...]");
    std::vector<std::string> wanted(argv + 2, argv + argc);
    if (wanted.empty()) wanted = {"flux", "wan", "wan_editing"};
    fmt::print("float32, {} threads\n\n", at::get_num_threads());
    fmt::print(
        "| network | tokens | policy | forward s | attention's share | gain | of attention | bound | "
        "relative error |\n"
        "|---|---|---|---|---|---|---|---|---|\n");
    for (const std::string& text : wanted) {
      const std::string kind = text.substr(0, text.find(':'));
      glint::compare(argv[1], kind, glint::size_in(text, kind));
    }
  } catch (const glint::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
