// Every harness on its seeds and on some thousands of damaged copies of them. The fuzz preset runs the same
// for as long as one likes.
#include "tests/fuzz/harnesses.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <nlohmann/json.hpp>

#include <random>

using namespace glint;

namespace GLINT_TEST_FILE {

/// Seeds from the tests' own data, so that they are there once.
std::vector<std::string> seeds_of(const std::string& harness) {
  std::vector<std::string> seeds;
  const auto folder = test::source_dir() / "tests/fuzz/corpus" / harness;
  std::error_code none;
  for (const auto& file : std::filesystem::directory_iterator(folder, none))
    seeds.push_back(test::read_bytes(file.path()));
  const auto add = [&](const char* file) { seeds.push_back(test::read_bytes(test::data(file))); };
  if (harness == "manifest" || harness == "json") seeds.push_back(test::tiny_manifest().dump());
  if (harness == "safetensors") add("families/sdxl/released.safetensors");
  if (harness == "adapter") {
    for (const char* file :
         {"flux/lora-kohya", "sdxl/kind-lokr-both", "sdxl/kind-loha", "sdxl/kind-dora-columns"})
      add((std::string("families/") + file + ".safetensors").c_str());
  }
  if (harness == "words") add("modules/tokenizer.json");
  if (harness == "sentencepiece") add("families/wan/tokenizer.model");
  return seeds;
}

TEST_CASE("Damaged inputs are taken or refused, and nothing else happens", "[fuzz]") {
  constexpr int kInputs = 3000;  // for each harness
  std::mt19937 random(20);
  for (const fuzz::Harness& harness : fuzz::harnesses()) {
    const std::vector<std::string> seeds = seeds_of(std::string(harness.name));
    CAPTURE(harness.name);
    REQUIRE(!seeds.empty());
    for (const std::string& seed : seeds) harness.run(seed);
    size_t bytes = 0;
    for (const std::string& seed : seeds) bytes += seed.size();
    // Large seeds cost more: fewer of them.
    const int inputs =
        std::max(200, std::min<int>(kInputs, static_cast<int>(size_t{30'000'000} / (bytes + 1))));
    for (int i = 0; i < inputs; ++i) harness.run(test::mutated(seeds[random() % seeds.size()], random));
  }
  SUCCEED();
}

}  // namespace GLINT_TEST_FILE
