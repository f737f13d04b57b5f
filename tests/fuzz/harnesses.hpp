// What is fuzzed: each harness gives one parser arbitrary bytes. The fuzzer (main.cpp) and the test program
// (fuzz.tests.cpp) run the same ones.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace glint::fuzz {

struct Harness {
  std::string_view name;
  /// Returns if the input was taken or refused with a glint::Error; anything else it throws, reads out of
  /// bounds or never ends is a fault.
  void (*run)(std::string_view input);
  std::vector<std::string> files = {};  ///< further seeds, in the source folder
  std::string (*made)() = nullptr;      ///< makes a further seed
};

/// All harnesses.
std::span<const Harness> harnesses();

/// Returns a harness's seeds: the files in tests/fuzz/corpus/NAME, and those it names or makes itself.
std::vector<std::string> seeds(const Harness& harness, const std::filesystem::path& source);

}  // namespace glint::fuzz
