// What is fuzzed: each harness gives one parser arbitrary bytes. The fuzzer (main.cpp) and the test program
// (fuzz.tests.cpp) run the same ones.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace glint::fuzz {

struct Harness {
  std::string_view name;
  /// Returns if the input was taken or refused with a glint::Error; anything else it throws, reads out of
  /// bounds or never ends is a fault.
  void (*run)(std::string_view input);
};

/// All harnesses. The seeds of one are the files in tests/fuzz/corpus/NAME, and those it is told from the
/// tests' own data.
std::span<const Harness> harnesses();

}  // namespace glint::fuzz
