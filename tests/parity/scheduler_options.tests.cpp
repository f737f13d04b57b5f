// Every option of diffusers' schedulers that the exporter carries into a bundle, and 200 schedulers drawn by
// a seed: the bundle's run against diffusers'. tests/data/parity is made by
// tools/golden/scheduler_options.py, which also says what the exporter refuses.
#include <glint/io/safetensors.hpp>
#include <glint/io/sha256.hpp>
#include <glint/pipeline/pipeline.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/report.hpp"
#include "tests/support/samplers.hpp"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <nlohmann/json.hpp>

namespace glint {
namespace GLINT_TEST_FILE {

using Json = nlohmann::json;

/// A bundle of the denoiser that all cases share, with one case's schedule and solver.
Json manifest_of(const Json& c) {
  const std::filesystem::path file = test::data("parity") / "scheduler_denoiser.pt";
  return {{"format", 1},
          {"name", c["name"]},
          {"family", "tensor"},
          {"parameterization", c["parameterization"]},
          {"schedule", c["schedule"]},
          {"default_solver", c["default_solver"]},
          {"default_filters", c.value("default_filters", Json::array())},
          {"latent", {{"channels", 1}, {"height", 4}, {"width", 4}, {"patch", 2}}},
          {"guidance", {{"null_branch", false}}},
          {"components",
           {{"denoiser",
             {{"file", "scheduler_denoiser.pt"},
              {"backend", "torchscript"},
              {"sha256", sha256_file(file)},
              {"time", "timestep"},
              {"inputs", {"latents", "time", "tokens"}}}}}}};
}

TEST_CASE("Bundles follow every option of diffusers' schedulers that they carry", "[parity]") {
  const test::TemporaryFolder folder;
  std::filesystem::copy(test::data("parity") / "scheduler_denoiser.pt", folder / "scheduler_denoiser.pt");
  const at::Tensor expected =
      read_safetensors(test::data("parity") / "scheduler_options.safetensors").at("latents");
  const Json cases = Json::parse(test::read_bytes(test::data("parity") / "scheduler_options.json"));
  REQUIRE(cases.size() == static_cast<size_t>(expected.size(0)));
  size_t schedulers = 0, drawn = 0;
  int64_t row = 0;
  double worst = 0.0;
  for (const Json& c : cases) {
    const std::string name = c["name"];
    CAPTURE(name, c.dump());
    test::write_bytes(folder / "model.json", manifest_of(c).dump());
    const std::vector<double> coefficients = c["model"];
    const at::Tensor tokens = at::tensor(coefficients, at::kFloat).view({1, 4});
    at::Tensor latents = at::zeros({1, 1, 4, 4});
    CHECK(test::failure([&] {
            const Pipeline pipeline(Bundle::load(folder.path()));
            latents = pipeline
                          .generate({.conditioning = prompt_from_tensors({{"tokens", tokens}}),
                                     .steps = c["steps"],
                                     .seed = c["seed"],
                                     .decode = false})
                          .sample.latents;
          }) == "no error");
    const double error = test::relative_error(latents, expected.narrow(0, row++, 1));
    // What float32 leaves of runs whose first level is sigma 4096, diffusers' and the library's alike.
    const double allowed = c["schedule"].value("zero_terminal_snr", false) ? 1e-3 : 1e-4;
    CHECK(error < allowed);
    if (allowed == 1e-4) worst = std::max(worst, error);
    schedulers += c["cases"].get<size_t>();
    drawn += c["drawn"].get<size_t>();
  }
  test::report("{} schedulers, {} of them drawn by a seed, as {} runs: largest relative error {:.1e}",
               schedulers, drawn, cases.size(), worst);
  CHECK(drawn >= 100);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
