// A tiny SDXL bundle exported with --npnet and --core2: whole runs against their transcription in Python
// (tools/golden/released_runs.py), and networks that were made for other latents.
#include <glint/version.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/families.hpp"
#include "tests/support/report.hpp"

#include <ATen/ops/equal.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace glint;
using nlohmann::json;
using test::Contains;
using test::failure;

namespace GLINT_TEST_FILE {

// Float32 on both sides, 6 steps; the golden latents reach 290, of which rounding takes its share.
constexpr double kTolerance = 1e-4;

test::FamilyBundle bundle(const std::function<void(json&)>& change = [](json&) {}) {
  return test::FamilyBundle("sdxl", "released.json", change);
}

GenerateRequest request(bool golden_noise, bool core2) {
  static const TensorMap stored = read_safetensors(test::data("families/sdxl/released.safetensors"));
  GenerateRequest request{.prompts = {"a small golden fox in the snow"}, .decode = false};
  request.negative = "blurry";
  request.steps = 6;
  request.guidance = 5.0;
  request.solver = Choice{.name = "euler"};
  request.noise = stored.at("noise");
  if (golden_noise) request.with.emplace_back("golden-noise");
  if (core2) request.with.emplace_back(Choice{"core2", {{"gap_scale", 1.5}, {"slow_steps", 2}}});
  return request;
}

TEST_CASE("A bundle exported with NPNet and CoRe2 runs as the transcription of both", "[parity]") {
  const TensorMap stored = read_safetensors(test::data("families/sdxl/released.safetensors"));
  const test::FamilyBundle files = bundle();
  const Pipeline pipeline(files.load());
  const auto latents = [&](bool golden_noise, bool core2) {
    return pipeline.generate(request(golden_noise, core2)).sample.latents;
  };
  const at::Tensor plain = latents(false, false);
  for (const auto& [name, golden_noise, core2] : {std::tuple{"plain", false, false},
                                                  {"golden-noise", true, false},
                                                  {"core2", false, true},
                                                  {"both", true, true}}) {
    CAPTURE(name);
    const at::Tensor got = latents(golden_noise, core2), wanted = stored.at(name);
    REQUIRE(got.sizes() == wanted.sizes());
    const double largest = wanted.abs().max().item<double>();
    const double distance = test::largest_difference(got, wanted) / largest;
    CHECK(distance < kTolerance);
    CHECK(at::equal(latents(golden_noise, core2), got));
    if (golden_noise || core2) CHECK(test::largest_difference(got, plain) > 0.1 * largest);
    test::report("{:12} {:.1e} of the largest latent", name, distance);
  }
  // 2 samples: 2 slow steps of two rows and 4 fast ones of one.
  CHECK(pipeline.generate(request(true, true)).sample.usage.rows == 2 * (2 * 2 + 4));
}

TEST_CASE("NPNet beside latents of another size or number of channels is refused before anything runs",
          "[parity]") {
  const test::FamilyBundle files = bundle();
  const Pipeline pipeline(files.load());
  GenerateRequest wide = request(true, false);
  wide.noise = at::Tensor();
  wide.width = 32;
  wide.height = 16;
  const std::string told =
      "ShapeMismatch: components.npnet: " + (files.folder / "npnet.safetensors").string() +
      ": latents: the network was trained for 4 x 8 x 8 alone, the model's are [4,8,16]";
  CHECK(failure([&] { pipeline.preload(wide); }) == told);
  CHECK(failure([&] { pipeline.generate(wide); }) == told);
  wide.width = 16;
  CHECK(failure([&] { pipeline.preload(wide); }) == "no error");

  const auto loading = [](const std::function<void(json&)>& change, const char* component) {
    const test::FamilyBundle changed = bundle(change);
    return failure([&] { changed.load().network(component); });
  };
  for (const char* component : {"npnet", "core2_weak"})
    CHECK_THAT(loading([](json& j) { j["latent"]["channels"] = 16; }, component),
               Contains(fmt::format("BadModel: components.{}: ", component)) && Contains("the model's") &&
                   Contains("[16,-1,-1] (-1: any size)"));
  const auto fixed = [](int side) {
    return [side](json& j) { j["latent"].update({{"fixed_size", true}, {"height", side}, {"width", side}}); };
  };
  CHECK(loading(fixed(8), "npnet") == "no error");
  CHECK_THAT(loading(fixed(16), "npnet"), Contains("BadModel: components.npnet: ") && Contains("[4,16,16]"));
  CHECK_THAT(loading(
                 [](json& j) {
                   j["latent"].update({{"frame_scale", 4}, {"frames", 2}});
                 },
                 "npnet"),
             Contains("BadModel: components.npnet: ") && Contains("[4,-1,-1,-1]"));
}

}  // namespace GLINT_TEST_FILE
