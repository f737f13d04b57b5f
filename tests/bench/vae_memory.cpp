// How much memory decoding takes, on the networks that tools/bench/vae_networks.py writes.
//
//   vae_memory FOLDER [KIND:WIDTHxHEIGHTxFRAMES:TILE...]      KIND: flux, wan; TILE: px, 0 for one piece
//
// Memory is the process's peak while it decodes, less what it holds before: weights, libraries and latents.
// One thread count: OMP_NUM_THREADS.
#include <glint/core/error.hpp>
#include <glint/network/network.hpp>
#include <glint/vae/image_decoder.hpp>
#include <glint/vae/video_decoder.hpp>

#include <ATen/ops/randn.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <fstream>

namespace glint {
namespace {

/// A figure of /proc/self/status in MiB.
double status(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(name + ":")) return std::stod(line.substr(name.size() + 1)) / 1024.0;
  fail(ErrorCode::Internal, "/proc/self/status has no {}", name);
}

void measure(const std::filesystem::path& folder, const std::string& text) {
  char kind[8];
  int width = 0, height = 0, frames = 0, tile = 0;
  GLINT_CHECK(std::sscanf(text.c_str(), "%7[a-z]:%dx%dx%d:%d", kind, &width, &height, &frames, &tile) == 5,
              InvalidArgument, "{}: expected KIND:WIDTHxHEIGHTxFRAMES:TILE", text);
  const auto network = [&](const std::string& name) {
    return load_network(folder / kind / (name + ".pt"), Backend::TorchScript);
  };
  const bool video = std::string(kind) == "wan";
  const VaeOptions options{.channels = 16};
  std::vector<int64_t> shape{1, 16, height / 8, width / 8};
  if (video) shape.insert(shape.begin() + 2, (frames - 1) / 4 + 1);
  const at::Tensor latents = at::randn(shape);
  const auto first = network("vae_decoder"), next = video ? network("vae_decoder_next") : first;
  std::ofstream("/proc/self/clear_refs") << 5;  // the peak is counted from here
  const double before = status("VmRSS");
  const auto start = std::chrono::steady_clock::now();
  if (video)
    VideoDecoder(first, next, options).decode(latents, [](const at::Tensor&) {}, {.tile = tile});
  else
    ImageDecoder(first, options).decode(latents, {.tile = tile});
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double more = status("VmHWM") - before;
  fmt::print("{:24} {:8.0f} MiB {:8.1f} KiB/px {:8.1f} s\n", text, more, 1024.0 * more / (width * height),
             seconds);
  std::fflush(stdout);
}

}  // namespace
}  // namespace glint

int main(int argc, char** argv) {
  try {
    GLINT_CHECK(argc >= 3, InvalidArgument, "vae_memory FOLDER KIND:WIDTHxHEIGHTxFRAMES:TILE...");
    // A process of its own for each would be cleaner; memory of the one before is given back, or counted as
    // held.
    for (int i = 2; i < argc; ++i) glint::measure(argv[1], argv[i]);
  } catch (const glint::Error& error) {
    std::fprintf(stderr, "vae_memory: %s\n", error.what());
    return 1;
  }
}
