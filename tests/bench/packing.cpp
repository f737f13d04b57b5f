// What packed layers gain: a network with and without them, in turn.
//
//   glint_bench_packing FILE.pt... [--runs N]
//
// FILE.safetensors beside each holds its inputs, called 0, 1, ... (tools/bench/unet.py writes such a pair).
// Prints CPU seconds per run (median), the largest difference relative to the largest value, and resident
// memory after loading and running each. One thread count: OMP_NUM_THREADS.
#include <glint/core/error.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/network/network.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

namespace glint {
namespace {

double resident_mib() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024.0;
  return 0.0;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

struct Side {
  std::shared_ptr<const Network> network;
  std::vector<double> seconds;
  at::Tensor output;
  double load_seconds, memory;

  Side(const std::filesystem::path& file, bool pack, const std::vector<at::Tensor>& inputs) {
    const double before = resident_mib();
    const std::clock_t start = std::clock();
    network = load_network(file, Backend::TorchScript, {.pack = pack});
    load_seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    output = network->run(inputs).front();
    memory = resident_mib() - before;
  }

  void run(const std::vector<at::Tensor>& inputs) {
    const std::clock_t start = std::clock();
    output = network->run(inputs).front();
    seconds.push_back(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
};

void measure(const std::filesystem::path& file, int runs) {
  const TensorMap stored = read_safetensors(std::filesystem::path(file).replace_extension(".safetensors"));
  std::vector<at::Tensor> inputs;
  for (size_t i = 0; i < stored.size(); ++i) inputs.push_back(stored.at(std::to_string(i)));
  Side plain(file, false, inputs), packed(file, true, inputs);
  for (int i = 0; i < runs; ++i) {
    plain.run(inputs);
    packed.run(inputs);
  }
  const auto largest = [](const at::Tensor& t) { return t.abs().max().item<double>(); };
  const double difference = largest(packed.output.sub(plain.output)) / largest(plain.output);
  fmt::print("{}\n", file.string());
  for (const auto& [name, side] : {std::pair{"plain", &plain}, {"packed", &packed}})
    fmt::print("  {:<7} {:.3f} s a run, {:.1f} s to load, {:.0f} MiB\n", name, median(side->seconds),
               side->load_seconds, side->memory);
  fmt::print("  ratio {:.3f}, largest difference {:.1e}\n", median(packed.seconds) / median(plain.seconds),
             difference);
}

}  // namespace
}  // namespace glint

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  int runs = 7;
  try {
    for (size_t i = 0; i < arguments.size(); ++i)
      if (arguments[i] == "--runs" && i + 1 < arguments.size())
        runs = std::stoi(arguments[++i]);
      else
        glint::measure(arguments[i], runs);
  } catch (const std::exception& error) {
    fmt::print(stderr, "glint_bench_packing: {}\n", error.what());
    return 1;
  }
}
