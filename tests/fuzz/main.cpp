// The fuzzer: GLINT_FUZZ names the harness, the rest of the command line is libFuzzer's. With
// GLINT_FUZZ_SEEDS it writes the harness's seeds into that folder instead; without GLINT_FUZZ it lists the
// harnesses.
#include "tests/fuzz/harnesses.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace {
const glint::fuzz::Harness* chosen = nullptr;
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* name = std::getenv("GLINT_FUZZ");
  const char* folder = std::getenv("GLINT_FUZZ_SEEDS");
  for (const glint::fuzz::Harness& harness : glint::fuzz::harnesses()) {
    if (!name) std::puts(std::string(harness.name).c_str());
    if (name && harness.name == name) chosen = &harness;
  }
  if (!name) std::exit(0);
  if (!chosen) {
    std::fprintf(stderr, "GLINT_FUZZ: no harness is called %s\n", name);
    std::exit(2);
  }
  if (!folder) return 0;
  int number = 0;
  for (const std::string& seed : glint::fuzz::seeds(*chosen, GLINT_SOURCE_DIR))
    std::ofstream(std::filesystem::path(folder) / ("seed-" + std::to_string(number++)), std::ios::binary)
        << seed;
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chosen->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
