// The same latents with libtorch and without: every solver, rule, filter and strategy that needs no network,
// against stored ones (GLINT_WRITE_LATENTS=file writes them anew). Both builds are held to the same file.
#include <glint/core/schedule_flow.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/mixtures.hpp"
#include "tests/support/places.hpp"
#include "tests/support/report.hpp"
#include "tests/support/runs.hpp"
#include "tests/support/tensors.hpp"

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>

namespace glint {
namespace GLINT_TEST_FILE {

constexpr int kSteps = 8;

using Runs = std::map<std::string, std::vector<double>>;

/// Values of the latents, at most 24 of them spread evenly.
std::vector<double> values_of(const at::Tensor& latents) {
  const at::Tensor flat = latents.to(at::kDouble).contiguous().flatten();
  const int64_t stride = (std::max)(int64_t{1}, flat.numel() / 24);
  std::vector<double> values;
  for (int64_t i = 0; i < flat.numel(); i += stride) values.push_back(flat.data_ptr<double>()[i]);
  return values;
}

/// A prediction that is not linear, on latents large enough for every rule: v = x / (1 + x^2) + token.
std::shared_ptr<const Model> curved_model(NoiseKind kind) {
  return std::make_shared<CallableModel>(
      ModelInfo{.name = "curved", .parameterization = test::output_of(kind), .noise_kind = kind},
      [](const ModelInput& in) {
        std::vector<at::Tensor> outputs;
        for (const Conditioning* branch : in.branches)
          outputs.push_back(in.x.div(in.x.square().add(1.0)).add(test::token_of(*branch)));
        return outputs;
      });
}

std::vector<double> sampled(NoiseKind kind, at::ScalarType type, const Choice& rule, const Choice& solver,
                            const std::vector<Choice>& others = {}) {
  const auto made = builtins().solver(solver);
  SamplerParts parts{.predictor = Predictor{.model = curved_model(kind), .rule = builtins().rule(rule)},
                     .schedule = test::schedule_of(kind, kSteps, *made),
                     .solver = made};
  for (const Choice& other : others) {
    const Product product = builtins().make(other);
    if (const auto* filter = std::get_if<std::shared_ptr<const GuidanceFilter>>(&product))
      parts.predictor.filters.push_back(*filter);
    if (const auto* step = std::get_if<StepMethod>(&product)) parts.step_methods.push_back(*step);
    if (const auto* noise = std::get_if<std::shared_ptr<const NoiseStrategy>>(&product))
      parts.noise_strategies.push_back(*noise);
  }
  const at::Tensor noise = NoiseStream(3, 2).normal({4, 9, 8}, type);
  return values_of(
      Sampler(std::move(parts)).sample({.prompt = test::prompt_of(), .seed = 3, .noise = noise}).latents);
}

Runs all_runs(at::ScalarType type) {
  Runs runs;
  const std::string dtype = type == at::kFloat ? " float32" : " float64";
  for (const NoiseKind kind : test::kKinds) {
    const std::string ending = " " + std::string(enum_name(kind)) + dtype;
    for (const auto& entry : builtins().entries()) {
      const std::string name(entry.info.name);
      try {
        if (type == at::kFloat && entry.info.kind != "solver") continue;  // large scales multiply rounding
        if (entry.info.kind == "solver") {
          runs[name + ending] =
              sampled(kind, type, {.name = "cfg", .options = {{"scale", 0.8}}}, {.name = name});
        } else if (entry.info.kind == "rule") {
          runs[name + ending] = sampled(kind, type, {.name = name}, {.name = "euler"});
        } else if (entry.info.kind == "filter" || entry.info.kind == "step" || entry.info.kind == "noise") {
          Choice choice{.name = name};
          if (name == "stability-selection") choice.options = {{"candidates", 3}, {"steps", 2}};
          if (name == "stability-optimization")
            choice.options = {{"iterations", 2}, {"steps", 2}, {"gradient", "perturbation"}};
          runs[name + ending] =
              sampled(kind, type, {.name = "cfg", .options = {{"scale", 2}}}, {.name = "euler"}, {choice});
        }
      } catch (const Error&) {  // needs a bundle, or the other kind of noise
      }
    }
    if (type == at::kFloat) continue;
    const auto mixture = test::three_gaussians(test::output_of(kind), kind);
    runs["mixture" + ending] =
        values_of(test::sampler_of(mixture, test::schedule_of(kind, kSteps), std::make_shared<Euler>(), 1.5,
                                   {test::reflection()})
                      .sample({.prompt = {mixture->condition({0}), mixture->condition()},
                               .noise = NoiseStream(4, 6).normal({2, 1}, at::kDouble)})
                      .latents);
  }
  return runs;
}

TEST_CASE("Latents are the same over libtorch's tensors and over glint's own, up to rounding", "[unit]") {
  const auto path = test::source_dir() / "tests/data/core/latents.json";
  Runs runs = all_runs(at::kFloat);
  runs.merge(all_runs(at::kDouble));
  if (const char* file = std::getenv("GLINT_WRITE_LATENTS")) {
    std::ofstream(file) << nlohmann::json(runs).dump(0) << '\n';
    return;
  }
  std::ifstream file(path);
  const Runs expected = nlohmann::json::parse(file).get<Runs>();
  double largest = 0.0;
  for (const auto& [name, values] : runs) {
    CAPTURE(name);
    REQUIRE(expected.contains(name));
    REQUIRE(expected.at(name).size() == values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const double reference = expected.at(name)[i];
      const double error = std::abs(values[i] - reference) / (std::max)(1.0, std::abs(reference));
      largest = (std::max)(largest, error);
      // The two add in other orders. Solvers of higher order take differences of predictions, which enlarges
      // float32's rounding of 1e-7 up to seventyfold (dpmpp-3m-sde).
      CHECK(error < (name.ends_with("float32") ? 1e-5 : 1e-9));
    }
  }
  CHECK(runs.size() >= 60);
  test::report("{} runs, largest difference {:.2g}", runs.size(), largest);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
