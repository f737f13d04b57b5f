// The fuzzer: GLINT_FUZZ names the harness, the rest of the command line is libFuzzer's.
#include "tests/fuzz/harnesses.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {
const glint::fuzz::Harness* chosen = nullptr;
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* name = std::getenv("GLINT_FUZZ");
  for (const glint::fuzz::Harness& harness : glint::fuzz::harnesses())
    if (name && harness.name == name) chosen = &harness;
  if (chosen) return 0;
  std::fprintf(stderr, "GLINT_FUZZ: expected one of");
  for (const glint::fuzz::Harness& harness : glint::fuzz::harnesses())
    std::fprintf(stderr, " %s", std::string(harness.name).c_str());
  std::fprintf(stderr, "\n");
  std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chosen->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
