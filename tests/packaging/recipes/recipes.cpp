// The recipes of docs/adding.md, followed word for word by apply.py: a rule, a solver, a preset, a family, an
// image format and a backend, each added to a copy of the files it touches, linked in front of the library,
// and used as the built-in ones are.
#include "src/catalog/builtins.cpp"
#include "src/family/families.cpp"
#include "src/family/nova.cpp"
#include "src/image/image_file.cpp"
#include "src/image/ppm.cpp"
#include "src/network/backend.cpp"
#include "src/network/network.cpp"
#include "src/network/onnx_network.cpp"

#include <glint/bundle/manifest.hpp>
#include <glint/guidance/cfg.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/mixtures.hpp"
#include "tests/support/runs.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <nlohmann/json.hpp>

namespace glint {
namespace {

using test::gaussian;
using test::relative_error;

// What the tests on the page find in the files they are added to.
constexpr double kExact = 1e-12;
const at::Tensor c = test::latents(2, 1), u = test::latents(2, 2);

at::Tensor combine(const GuidanceRule& rule, const BranchOutputs& outputs, StepPosition position) {
  return rule.combine(outputs,
                      {.position = position,
                       .x = c,
                       .level = {600, 0.4, 0.6},
                       .parameterization = Parameterization::Velocity,
                       .prompt = test::prompt_of()},
                      nullptr);
}

at::Tensor cfg(double w) { return u + w * (c - u); }

at::Tensor normal_batch(int64_t batch) { return NoiseStream(7, batch).normal({2, 1}, at::kDouble); }

#include "recipe_tests.inc"

TEST_CASE("The registry makes what recipes add", "[packaging]") {
  CHECK(builtins().solver({.name = "renoise"}));
  CHECK(builtins().step({.name = "lora-reflection", .options = {{"strong", 2.0}}}).strategy);
  const auto rule = builtins().rule({.name = "cfg-ramp", .options = {{"scale", 3.0}, {"first", 3.0}}});
  const auto run = [](std::shared_ptr<const GuidanceRule> guidance) {
    return test::run(NoiseKind::Flow, std::move(guidance), {}, {}).latents;
  };
  CHECK(at::equal(run(rule), run(std::make_shared<Cfg>(3.0))));
  CHECK(test::failure([] {
          (void)builtins().rule({.name = "cfg-ramp", .options = {{"first", 1e9}}});
        }) == "InvalidArgument: cfg-ramp.first: expected a value in [-100, 1000], got 1000000000");
}

TEST_CASE("A manifest may name a family that a recipe adds", "[packaging]") {
  CHECK(families::find("nova").encoders == 2);
  nlohmann::json manifest = test::tiny_manifest();
  manifest["family"] = "nova";
  CHECK(test::failure([&] { (void)parse_manifest(manifest.dump()); }).find("family nova has text_encoder") !=
        std::string::npos);
  for (const char* role : {"text_encoder", "tokenizer"})
    manifest["components"][std::string(role) + "_2"] = manifest["components"][role];
  CHECK(parse_manifest(manifest.dump()).family == "nova");
}

TEST_CASE("Pictures are written in a format that a recipe adds", "[packaging]") {
  const test::TemporaryFolder folder;
  const Image image{2, 1, {255, 0, 0, 1, 2, 3}};
  write_image(folder / "two.ppm", image, {});
  CHECK(test::read_bytes(folder / "two.ppm") == std::string("P6\n2 1\n255\n\xff\0\0\1\2\3", 17));
  CHECK(test::failure([&] { write_image(folder / "two.bmp", image, {}); }).find(".ppm") != std::string::npos);
}

TEST_CASE("A network runs in a backend that a recipe adds", "[packaging]") {
  const test::TemporaryFolder folder;
  const auto network = load_network(test::write_bytes(folder / "double.onnx", "twice"), Backend::Onnx, {});
  const at::Tensor x = at::ones({2, 3}, at::kFloat);
  CHECK(at::equal(network->run({x}).front(), x * 2));
  CHECK(test::failure([&] { (void)network->run({}); }).find("expected 1 inputs, got 0") != std::string::npos);
  const auto broken = test::write_bytes(folder / "broken", "");
  CHECK(test::failure([&] { (void)load_network(broken, Backend::Onnx, {}); }) ==
        "BadModel: " + broken.string() + ": not a model");
}

}  // namespace
}  // namespace glint
