// What adapters cost: glint_bench_adapters BUNDLE [RANK [ROUNDS]]. A random LoRA of that rank on every Linear
// and Conv of the denoiser; prints the time to form a set of scales, the first and later ones, to change
// between sets that are kept, and of a denoiser call with and without, one thread, medians of ROUNDS.
#include <glint/bundle/network_model.hpp>
#include <glint/core/rng.hpp>
#include <glint/pipeline/pipeline.hpp>
#include <glint/text/text_encoder.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

namespace glint {
namespace {

template <typename Function>
double milliseconds(Function&& function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

template <typename Function>
double median(int rounds, Function&& function) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) times.push_back(milliseconds([&] { function(i); }));
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[static_cast<size_t>(rounds / 2)];
}

/// A low-rank change of every matrix and kernel, too small to change what the network does.
WeightChanges random_changes(const Weights& weights, int64_t rank, double& megabytes) {
  WeightChanges changes;
  NoiseStream stream(1, 1);
  for (const auto& [name, weight] : weights) {
    if (weight.dim() < 2) continue;
    const int64_t rows = weight.size(0), columns = weight.numel() / rows;
    const AdapterMatrix product{.up = stream.normal({rows, rank}).squeeze(0).mul(1e-4),
                                .down = stream.normal({rank, columns}).squeeze(0)};
    changes[name] = {WeightChange{.key = name, .layer = name, .first = product}};
    megabytes += static_cast<double>(weight.nbytes()) / (1 << 20);
  }
  return changes;
}

double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

void run(const std::string& folder, int64_t rank, int rounds) {
  at::set_num_threads(1);
  const Pipeline pipeline(Bundle::load(folder));
  const auto network = pipeline.bundle().network("denoiser");
  double megabytes = 0.0, all = 0.0;
  for (const auto& [name, weight] : network->weights())
    all += static_cast<double>(weight.nbytes()) / (1 << 20);
  const AdaptedNetwork adapted(network, {{"x", random_changes(network->weights(), rank, megabytes)}}, 3);
  fmt::print("{}: {:.1f} MB of weights, {:.1f} MB of them changed by rank {}\n", folder, all, megabytes,
             rank);

  double peak = peak_megabytes();
  fmt::print("first set, and the network with weights as inputs: {:.1f} ms", milliseconds([&] {
               adapted.at({{"x", 0.5}});
             }));
  fmt::print(", {:.1f} MB of peak memory\n", peak_megabytes() - peak);
  peak = peak_megabytes();
  fmt::print("another set: {:.1f} ms", median(rounds, [&](int i) { adapted.at({{"x", 1.0 + i}}); }));
  fmt::print(", {:.1f} MB of peak memory for three\n", peak_megabytes() - peak);
  const Adapters one{{"x", 1.0}}, two{{"x", 2.0}};
  for (const Adapters* scales : {&one, &two}) adapted.at(*scales);
  fmt::print("change between kept sets: {:.4f} ms\n",
             median(1000, [&](int i) { adapted.at(i % 2 ? one : two); }));

  const Sampler sampler = pipeline.sampler({.prompts = {"x"}, .steps = 1});
  const Model& plain = *sampler.predictor().model;
  const Component& component = pipeline.bundle().manifest().components.at("denoiser");
  const NetworkModel model(adapted, plain.info(), {.names = component.inputs, .time = component.time});
  const LatentSpec& latent = pipeline.bundle().manifest().latent;
  const at::Tensor x =
      NoiseStream(2, 1).normal({latent.channels, latent.height.value(), latent.width.value()});
  const Conditioning conditioning = pipeline.bundle().text_encoder()->encode("x").conditioning;
  const Conditioning* branches[] = {&conditioning, &conditioning};
  const auto call = [&](const Adapters& scales) {
    model.predict({.x = x, .level = sampler.schedule().level(0), .branches = branches, .adapters = scales});
  };
  const Adapters none;
  for (const Adapters* scales : {&none, &one}) call(*scales);
  std::vector<double> without, with, switching;
  for (int i = 0; i < rounds; ++i) {
    without.push_back(milliseconds([&] { call(none); }));
    with.push_back(milliseconds([&] { call(one); }));
    switching.push_back(milliseconds([&] { call(two); }));
  }
  for (auto* times : {&without, &with, &switching}) std::sort(times->begin(), times->end());
  const size_t middle = without.size() / 2;
  fmt::print("one call of two rows: {:.2f} ms without, {:.2f} ms with, {:.2f} ms with the other set\n",
             without[middle], with[middle], switching[middle]);
}

}  // namespace
}  // namespace glint

int main(int argc, char* argv[]) {
  if (argc < 2) {
    fmt::print(stderr, "usage: glint_bench_adapters BUNDLE [RANK [ROUNDS]]\n");
    return 2;
  }
  glint::run(argv[1], argc > 2 ? std::atoll(argv[2]) : 16, argc > 3 ? std::atoi(argv[3]) : 21);
  return 0;
}
