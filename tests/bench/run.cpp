// Runs a network each time a line comes in, for a script that compares it with others in turn.
//
//   glint_bench_run FILE.pt INPUTS.safetensors OUTPUT.safetensors [--plain] [--threads N]
//
// INPUTS holds the network's inputs, called 0, 1, ... Prints "ready" after loading and a first run, whose
// output it writes; then CPU and wall-clock seconds and the peak of memory in MiB after each run.
#include <glint/core/error.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/network/network.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

namespace glint {
namespace {

/// getrusage counts the memory of the process that started this one, too.
double peak_mib() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024.0;
  return 0.0;
}

void serve(const std::vector<std::string>& files, bool pack) {
  GLINT_CHECK(files.size() == 3, InvalidArgument, "expected FILE INPUTS OUTPUT, got {} files", files.size());
  const TensorMap stored = read_safetensors(files[1]);
  std::vector<at::Tensor> inputs;
  for (size_t i = 0; i < stored.size(); ++i) inputs.push_back(stored.at(std::to_string(i)));
  const auto network = load_network(files[0], Backend::TorchScript, {.pack = pack});
  write_safetensors(files[2], {{"output", network->run(inputs).front()}});
  fmt::print("ready\n");
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    const std::clock_t cpu = std::clock();
    const auto wall = std::chrono::steady_clock::now();
    network->run(inputs);
    fmt::print("{} {} {}\n", static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC,
               std::chrono::duration<double>(std::chrono::steady_clock::now() - wall).count(), peak_mib());
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace glint

int main(int argc, char** argv) {
  std::vector<std::string> files;
  bool pack = true;
  try {
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      if (argument == "--plain")
        pack = false;
      else if (argument == "--threads" && i + 1 < argc)
        at::set_num_threads(std::stoi(argv[++i]));
      else
        files.push_back(argument);
    }
    glint::serve(files, pack);
  } catch (const std::exception& error) {
    fmt::print(stderr, "glint_bench_run: {}\n", error.what());
    return 1;
  }
}
