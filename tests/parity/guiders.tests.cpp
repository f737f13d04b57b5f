// Guidance rules and filters against diffusers' guiders: the same branch outputs, combined over some steps.
// tests/data/parity/guiders.* is made by tools/golden/guiders.py; its cases state rule, options and
// tolerance, and where the two differ on purpose.
#include <glint/catalog/registry.hpp>
#include <glint/guidance/autoguidance.hpp>
#include <glint/guidance/perturbation.hpp>
#include <glint/io/safetensors.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/places.hpp"
#include "tests/support/report.hpp"
#include "tests/support/runs.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros_like.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>

namespace glint {
namespace GLINT_TEST_FILE {

using Json = nlohmann::json;

const std::filesystem::path kFolder = test::source_dir() / "tests/data/parity";

std::shared_ptr<const GuidanceRule> bare_rule_of(const Json& choice) {
  const std::string name = choice["name"];
  const OptionValues options = parse_options(choice["options"].dump());
  // By name these two take a weak model from a bundle; here its outputs are given.
  if (name == AutoGuidance::info.name) {
    const auto o = read_options<AutoGuidanceOptions>(name, options);
    return std::make_shared<AutoGuidance>(WeakBranch{}, o);
  }
  if (name == Perturbation::info.name)
    return std::make_shared<Perturbation>(WeakBranch{}, read_options<PerturbationOptions>(name, options));
  return builtins().rule({name, options});
}

Predictor predictor_of(const Json& c) {
  Predictor predictor{.rule = bare_rule_of(c["rule"])};
  for (const Json& filter : c["filters"])
    predictor.filters.push_back(builtins().filter({filter["name"], parse_options(filter["options"].dump())}));
  return predictor;
}

/// Returns what the predictor makes of these outputs, of which it is given those it asks for.
at::Tensor guided(const Predictor& predictor, BranchOutputs outputs, const StepPosition& position,
                  GuidanceState* state) {
  const BranchSet asked = predictor.branches(position);
  const at::Tensor x = at::zeros_like(outputs.cond);
  if (!asked.cond) outputs.cond = at::Tensor();
  if (!asked.uncond) outputs.uncond = at::Tensor();
  if (!asked.weak) outputs.weak = at::Tensor();
  const Level level{500, 0.5, 0.5};
  return predictor.combine(outputs,
                           {.position = position,
                            .x = x,
                            .level = level,
                            .parameterization = Parameterization::Velocity,
                            .prompt = {}},
                           state);
}

double error_of(const at::Tensor& actual, const at::Tensor& expected) {
  // A zeroed step is zero on both sides, and nothing to be relative to.
  return at::equal(actual, expected) ? 0.0 : test::relative_error(actual, expected);
}

/// Returns whether a result is what the manifest calls it where the rule and diffusers differ.
bool is(const std::string& kind, const at::Tensor& result, const at::Tensor& cond) {
  if (kind == "cond") return at::equal(result, cond);
  if (kind == "zero") return at::equal(result, at::zeros_like(cond));
  if (kind == "nan") return result.isnan().all().item<bool>();
  return kind == "guided" && error_of(result, cond) > 1e-2;
}

TEST_CASE("Every rule combines as diffusers' guider of that name, or as documented", "[parity]") {
  const Json manifest = Json::parse(std::ifstream(kFolder / "guiders.json"));
  const TensorMap golden = read_safetensors(kFolder / "guiders.safetensors");
  struct Figures {
    int cases = 0, calls = 0;
    double largest = 0.0, exact = 0.0;
  };
  std::map<std::string, Figures> all;
  for (const Json& c : manifest["cases"]) {
    const std::string name = c["case"], inputs = c["inputs"];
    CAPTURE(name);
    const Predictor predictor = predictor_of(c);
    const std::unique_ptr<GuidanceState> state = predictor.rule->begin(),
                                         exact_state = predictor.rule->begin();
    Figures& figures = all[c["guider"]];
    ++figures.cases;
    const std::vector<int> calls = c["calls"];
    const std::vector<int> others = c.contains("differs") ? c["differs"]["calls"] : Json::array();
    for (size_t i = 0; i < calls.size(); ++i) {
      const StepPosition position{calls[i], c["steps"]};
      CAPTURE(position.step);
      const auto row = [&](const std::string& tensor) {
        return golden.at(tensor).select(0, static_cast<int64_t>(i));
      };
      const BranchOutputs given{row(inputs + "/cond"), row(inputs + "/uncond"), row(inputs + "/weak")};
      const BranchOutputs exact{given.cond.to(at::kDouble), given.uncond.to(at::kDouble),
                                given.weak.to(at::kDouble)};
      const at::Tensor expected = row(name + "/guided");
      const at::Tensor result = guided(predictor, given, position, state.get());
      const at::Tensor unrounded = guided(predictor, exact, position, exact_state.get());
      if (std::find(others.begin(), others.end(), calls[i]) != others.end()) {
        const std::string why = c["differs"]["why"];
        CAPTURE(why);
        CHECK(is(c["differs"]["diffusers"], expected, given.cond));
        CHECK(is(c["differs"]["glint"], result, given.cond));
        continue;
      }
      CHECK(error_of(result, expected) < c["tolerance"]);
      ++figures.calls;
      figures.largest = std::max(figures.largest, error_of(result, expected));
      figures.exact = std::max(figures.exact, error_of(unrounded, expected));
    }
  }
  int cases = 0;
  for (const auto& [guider, f] : all) {
    test::report("{:34} {:3} cases, {:3} calls, largest relative error {:.1e}, {:.1e} in float64", guider,
                 f.cases, f.calls, f.largest, f.exact);
    cases += f.cases;
  }
  CHECK(cases >= 50);
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
