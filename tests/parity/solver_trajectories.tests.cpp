// Whole trajectories of the solvers that predict several times a step, against diffusers, and of those it
// does not have, against their published equations in float64. tests/data/parity/solvers.* is made by
// tools/golden/solvers.py, which states how.
#include <glint/catalog/registry.hpp>
#include <glint/io/safetensors.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/places.hpp"
#include "tests/support/report.hpp"
#include "tests/support/samplers.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/sin.h>
#include <nlohmann/json.hpp>

#include <fstream>

namespace glint {
namespace GLINT_TEST_FILE {

using Json = nlohmann::json;

OptionValue value_of(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_string()) return value.get<std::string>();
  return value.get<double>();
}

OptionValues options_of(const Json& object) {
  OptionValues values;
  for (const auto& [name, value] : object.items()) values.emplace(name, value_of(value));
  return values;
}

Parameterization predicted(const std::string& name) {
  if (name == "epsilon") return Parameterization::Epsilon;
  return name == "v_prediction" ? Parameterization::V : Parameterization::Velocity;
}

TEST_CASE("Solvers of several predictions a step, and those diffusers lacks, follow their references",
          "[parity]") {
  const std::filesystem::path data = test::source_dir() / "tests/data/parity";
  const Json manifest = Json::parse(std::ifstream(data / "solvers.json"));
  const TensorMap tensors = read_safetensors(data / "solvers.safetensors");
  std::map<std::string, std::pair<int, double>> worst;
  for (const Json& c : manifest["cases"]) {
    const std::string name = c["solver"].get<std::string>() + "/" + c["name"].get<std::string>();
    CAPTURE(name);
    const auto solver = builtins().solver({c["solver"], options_of(c["options"])});
    GridOptions grid = read_options<GridOptions>("schedule", options_of(c["grid"]));
    grid.steps = c["steps"];
    if (grid.spacing != Spacing::Leading) grid.steps_offset = 0;
    const bool flow = !c["shift"].is_null();
    const NoiseSchedule schedule =
        flow ? solver->schedule(
                   FlowTraining{.spacing = FlowSpacing::Training, .shift = c["shift"].get<double>()}, grid)
             : solver->schedule(VpTraining{}, grid);
    const at::Tensor levels = tensors.at(name + "/levels");
    REQUIRE(levels.size(0) == schedule.steps() + 1);
    for (int i = 0; i <= schedule.steps(); ++i) {
      const Level& level = schedule.level(i);
      CAPTURE(i);
      // The terminal level's time is used only by solvers that predict there, which start their grids at 0.
      if (i < schedule.steps())
        CHECK(level.model_time == Approx(levels[i][0].item<double>()).epsilon(1e-5).margin(1e-4));
      CHECK(level.alpha == Approx(levels[i][1].item<double>()).epsilon(1e-5).margin(1e-8));
      CHECK(level.sigma == Approx(levels[i][2].item<double>()).epsilon(1e-5).margin(1e-8));
    }

    const std::vector<double> k = c["model"];
    const auto model = test::model_of(
        predicted(c["prediction"]), schedule.kind(), [k](const at::Tensor& x, const Level& level) {
          return at::sin(x.mul(k[1]).add(k[2] * level.model_time / 1000.0)).mul(k[0]).add(x, k[3]);
        });
    // The seed alone must give the same initial noise and the same draws in the same order.
    const SampleResult result =
        test::sampler_of(model, schedule, solver)
            .sample({.seed = c["seed"], .latent_shape = {4, 2, 4}, .keep_trajectory = true});
    const at::Tensor trajectory = tensors.at(name + "/trajectory");
    double error = 0.0;
    for (int i = 0; i <= schedule.steps(); ++i)
      error = std::max(error, test::relative_error(result.trajectory[static_cast<size_t>(i)], trajectory[i]));
    CHECK(error < c["tolerance"].get<double>());
    auto& [count, largest] = worst[c["solver"]];
    ++count;
    largest = std::max(largest, error);
  }
  for (const auto& [solver, figures] : worst)
    test::report("{:14} {:3} cases, largest relative error {:.1e}", solver, figures.first, figures.second);
  CHECK(worst.size() == 12);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
