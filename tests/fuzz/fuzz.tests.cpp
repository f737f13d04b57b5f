// Every harness on its seeds and on some thousands of damaged copies of them. The fuzz preset runs the same
// for as long as one likes.
#include "tests/fuzz/harnesses.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <random>

using namespace glint;

namespace GLINT_TEST_FILE {

TEST_CASE("Damaged inputs are taken or refused, and nothing else happens", "[fuzz]") {
  constexpr int kInputs = 3000;  // for each harness
  std::mt19937 random(20);
  for (const fuzz::Harness& harness : fuzz::harnesses()) {
    const std::vector<std::string> seeds = fuzz::seeds(harness, test::source_dir());
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
