// Whole trajectories against diffusers' schedulers: grids, model times, conversions, updates and noise draws.
// tests/data/parity is made by tools/golden/schedulers.py; its manifest states versions, model and
// tolerances.
#include <glint/core/schedule_flow.hpp>
#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/lcm.hpp>
#include <glint/solver/unipc.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/places.hpp"
#include "tests/support/report.hpp"
#include "tests/support/samplers.hpp"
#include "tests/support/tensor_files.hpp"
#include "tests/support/tensors.hpp"

#include <nlohmann/json.hpp>

#include <fstream>

namespace glint {
namespace GLINT_TEST_FILE {

using Json = nlohmann::json;

const std::filesystem::path kData = test::source_dir() / "tests/data/parity";

template <typename E>
E parse(const std::string& name) {
  for (size_t i = 0; i < EnumNames<E>::values.size(); ++i)
    if (EnumNames<E>::values[i] == name) return static_cast<E>(i);
  FAIL("unknown value " << name);
  return {};
}

Parameterization parameterization_of(const Json& config, const std::string& scheduler) {
  if (scheduler.starts_with("FlowMatch")) return Parameterization::Velocity;
  const std::string name = config["prediction_type"];
  if (name == "epsilon") return Parameterization::Epsilon;
  if (name == "v_prediction") return Parameterization::V;
  return name == "sample" ? Parameterization::X0 : Parameterization::Velocity;
}

std::shared_ptr<const Solver> solver_of(const Json& c) {
  const std::string scheduler = c["class"];
  const Json& config = c["config"];
  if (scheduler == "DDIMScheduler") return std::make_shared<Ddim>(DdimOptions{c.value("eta", 0.0)});
  if (scheduler == "EulerDiscreteScheduler") return std::make_shared<Euler>();
  if (scheduler == "EulerAncestralDiscreteScheduler") return std::make_shared<EulerAncestral>();
  if (scheduler == "LCMScheduler" || config.value("stochastic_sampling", false))
    return std::make_shared<Lcm>();
  if (scheduler == "FlowMatchEulerDiscreteScheduler") return std::make_shared<FlowEuler>();
  if (scheduler == "UniPCMultistepScheduler")
    return std::make_shared<UniPc>(UniPcOptions{.order = config["solver_order"]});
  if (config["algorithm_type"] == "sde-dpmsolver++") return std::make_shared<Dpmpp2mSde>();
  return std::make_shared<Dpmpp2m>(MultistepOptions{.order = config["solver_order"]});
}

/// The solver whose grid is the scheduler's.
std::shared_ptr<const Solver> grid_solver_of(const std::string& scheduler) {
  if (scheduler == "DDIMScheduler") return std::make_shared<Ddim>();
  if (scheduler == "LCMScheduler") return std::make_shared<Lcm>();
  if (scheduler == "UniPCMultistepScheduler") return std::make_shared<UniPc>();
  if (scheduler == "DPMSolverMultistepScheduler") return std::make_shared<Dpmpp2m>();
  return std::make_shared<Euler>();
}

NoiseSchedule schedule_of(const Json& c) {
  const Json& config = c["config"];
  const std::string scheduler = c["class"];
  GridOptions grid{.steps = c["steps"]};
  if (config.value("use_karras_sigmas", false)) grid.sigmas = Sigmas::Karras;
  if (config.value("use_exponential_sigmas", false)) grid.sigmas = Sigmas::Exponential;
  if (scheduler.starts_with("FlowMatch") || config.value("use_flow_sigmas", false)) {
    FlowTraining training{
        .spacing = c.contains("sigmas_given") ? FlowSpacing::PerStep : FlowSpacing::Training,
        .shift = config.value("flow_shift", config.value("shift", 1.0))};
    if (config.contains("shift_terminal")) training.shift_terminal = config["shift_terminal"].get<double>();
    if (config.value("use_dynamic_shifting", false)) {
      training.dynamic = DynamicShift{};
      grid.tokens = c["image_tokens"];
      // The linear form of the dynamic shift is a static one by mu.
      if (config["time_shift_type"] == "linear") {
        grid.shift = training.dynamic->mu(grid.tokens);
        training.dynamic.reset();
      }
    }
    return grid_solver_of(scheduler)->schedule(training, grid);
  }
  grid.spacing = parse<Spacing>(config["timestep_spacing"]);
  grid.steps_offset = config["steps_offset"];
  if (config.value("final_sigmas_type", "zero") == "sigma_min") grid.terminal = Terminal::SigmaMin;
  const VpTraining training{
      .betas = parse<Betas>(config["beta_schedule"]),
      .beta_start = config["beta_start"],
      .beta_end = config["beta_end"],
      .zero_terminal_snr = config.value("rescale_betas_zero_snr", false),
      .final_alpha = config.value("set_alpha_to_one", true) ? FinalAlpha::One : FinalAlpha::First};
  return grid_solver_of(scheduler)->schedule(training, grid);
}

at::Tensor levels_tensor(const NoiseSchedule& schedule) {
  at::Tensor t = at::empty({schedule.steps() + 1, 3}, at::kDouble);
  for (int i = 0; i <= schedule.steps(); ++i) {
    const Level& l = schedule.level(i);
    const double values[] = {l.model_time, l.alpha, l.sigma};
    std::copy_n(values, 3, t.data_ptr<double>() + 3 * i);
  }
  return t;
}

std::shared_ptr<const Model> golden_model(const Json& c, const NoiseSchedule& schedule) {
  const std::vector<double> k = c["model"];
  return test::model_of(
      parameterization_of(c["config"], c["class"]), schedule.kind(),
      [k](const at::Tensor& x, const Level& level) {
        return at::sin(x.mul(k[1]).add(k[2] * level.model_time / 1000.0)).mul(k[0]).add(x, k[3]);
      });
}

TEST_CASE("Every solver, spacing and parameterization follows diffusers' trajectory", "[parity]") {
  const Json manifest = Json::parse(std::ifstream(kData / "MANIFEST.json"));
  std::map<std::string, TensorMap> files;
  std::map<std::string, std::pair<int, double>> worst;
  for (const Json& c : manifest["cases"]) {
    const std::string file = c["file"], name = c["case"];
    CAPTURE(file, name);
    if (!files.contains(file)) files[file] = read_safetensors(kData / file);
    const auto golden = [&](const char* tensor) { return files[file].at(name + "/" + tensor); };
    const double tolerance = c["tolerance"];

    const std::shared_ptr<const Solver> solver = solver_of(c);
    const NoiseSchedule schedule = schedule_of(c);
    at::Tensor levels = levels_tensor(schedule), expected = golden("levels");
    REQUIRE(levels.sizes() == expected.sizes());
    // Relative with a floor, since alpha and sigma reach 0; a terminal level's model time is never used.
    levels[-1][0] = expected[-1][0];
    CHECK((levels - expected).abs().div(expected.abs() + 1e-3).max().item<double>() < 1e-5);
    if (files[file].contains(name + "/targets")) {
      const at::Tensor targets = golden("targets");
      for (int i = 0; i < schedule.steps(); ++i) {
        CHECK(schedule.landing(i).alpha == Approx(targets[i][0].item<double>()).epsilon(1e-6));
        CHECK(schedule.landing(i).sigma == Approx(targets[i][1].item<double>()).epsilon(1e-5).margin(1e-9));
      }
    }

    // The seed alone must give the same initial noise and the same draws in the same order.
    const SampleResult result =
        test::sampler_of(golden_model(c, schedule), schedule, solver)
            .sample({.seed = c["seed"], .latent_shape = {4, 2, 4}, .keep_trajectory = true});
    const at::Tensor trajectory = golden("trajectory");
    double error = 0.0;
    for (int i = 0; i <= schedule.steps(); ++i)
      error = std::max(error, test::relative_error(result.trajectory[static_cast<size_t>(i)], trajectory[i]));
    CHECK(error < tolerance);
    auto& [count, largest] = worst[c["class"]];
    ++count;
    if (tolerance == 1e-5) largest = std::max(largest, error);
  }
  int total = 0;
  for (const auto& [scheduler, figures] : worst) {
    test::report("{:34} {:4} cases, largest relative error {:.1e}", scheduler, figures.first, figures.second);
    total += figures.first;
  }
  CHECK(total >= 180);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
