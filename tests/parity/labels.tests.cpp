// The times that networks are given, to the last bit, for every number of steps from 1 to 1,000.
// tests/data/parity/labels.json is made from diffusers by tools/golden/labels.py.
#include <glint/bundle/manifest.hpp>
#include <glint/catalog/registry.hpp>
#include <glint/io/sha256.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/report.hpp"

#include <nlohmann/json.hpp>

#include <cstring>

namespace glint {
namespace GLINT_TEST_FILE {

using Json = nlohmann::json;

constexpr size_t kDigits = 4;

/// The schedule part of a manifest, read as the library reads it.
ScheduleSpec schedule_of(const Json& schedule) {
  Json manifest = test::tiny_manifest();
  manifest["schedule"] = schedule;
  return parse_manifest(manifest.dump()).schedule;
}

std::string digest(const NoiseSchedule& schedule) {
  std::string bytes;
  for (int i = 0; i < schedule.steps(); ++i) {
    const auto time = static_cast<float>(schedule.level(i).model_time);
    bytes.append(reinterpret_cast<const char*>(&time), sizeof(time));
  }
  return sha256(bytes).substr(0, kDigits);
}

TEST_CASE("Networks are given diffusers' times, bit for bit", "[parity]") {
  const Json grids = Json::parse(test::read_bytes(test::data("parity") / "labels.json"));
  int compared = 0, without = 0;
  for (const Json& g : grids) {
    const std::string name = g["grid"], solver_name = g["solver"];
    const ScheduleSpec spec = schedule_of(g["schedule"]);
    const auto solver = builtins().solver({solver_name});
    const std::string digests = g["times"];
    REQUIRE(digests.size() == 1000 * kDigits);
    std::vector<int> wrong;
    for (int n = 1; n <= 1000; ++n) {
      const std::string expected = digests.substr(static_cast<size_t>(n - 1) * kDigits, kDigits);
      if (expected == "none") {
        ++without;
        continue;
      }
      GridOptions grid = spec.grid;
      grid.steps = n;
      grid.tokens = g["tokens"];
      ++compared;
      // Too many steps for what the grid has to choose from; the library says so.
      const auto error = test::error_of([&] {
        const NoiseSchedule made = spec.kind == NoiseKind::Flow ? solver->schedule(spec.flow, grid)
                                                                : solver->schedule(spec.vp, grid);
        if (digest(made) != expected) wrong.push_back(n);
      });
      if (error) wrong.push_back(-n);
    }
    CAPTURE(name, wrong.size(), wrong);
    CHECK(wrong.empty());
  }
  test::report("{} grids agree in the last bit of every time; diffusers itself has none in {} cases",
               compared, without);
  CHECK(compared > 25000);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
