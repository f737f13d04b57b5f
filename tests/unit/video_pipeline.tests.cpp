// A whole request of a model that makes videos: the tiny Wan bundle.
#include <glint/pipeline/pipeline.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/counting_allocator.hpp"
#include "tests/support/families.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>

using namespace glint;
using test::Contains;
using test::failure;

namespace GLINT_TEST_FILE {

Pipeline wan() { return Pipeline(Bundle::load(test::data("families/wan"))); }

GenerateRequest request(int64_t frames = 9) {
  return {.conditioning =
              Prompt{.cond = {.tokens = at::randn({1, 7, 32})}, .uncond = {.tokens = at::randn({1, 7, 32})}},
          .steps = 2,
          .seed = 3,
          .width = 48,
          .height = 32,
          .frames = frames};
}

/// Counts what decoding asks, and stops it.
struct Decoding final : Observer {
  int stop_at = -1, stages = 0, calls = 0;
  bool keep_going() override { return stop_at < 0 || stages <= stop_at; }
  void on_stage(std::string_view name, int step, int steps) override {
    if (name != "decode") return;
    CHECK(step == stages % steps);
    ++stages;
    calls = steps;
  }
};

TEST_CASE("A video model gives videos, one per sample, whatever the batch", "[unit]") {
  const Pipeline pipeline = wan();
  GenerateRequest r = request();
  r.count = 2;
  const GenerateResult together = pipeline.generate(r);
  CHECK(together.images.empty());
  REQUIRE(together.videos.size() == 2);
  CHECK(together.videos[0].frames.size() == 9);
  CHECK(together.videos[0].frames[8].width == 48);
  CHECK(together.videos[0].frames[8].height == 32);
  CHECK(together.videos[0].frames_per_second == 16.0);
  CHECK(together.vae_tile == 0);
  CHECK(together.sample.latents.sizes() == at::IntArrayRef({2, 16, 3, 4, 6}));
  r.seed = 4;
  r.count = 1;
  const Video alone = pipeline.generate(r).videos.front();
  REQUIRE(alone.frames.size() == 9);
  int most = 0;  // batches round differently in the last bits, which may change a byte by one
  for (size_t k = 0; k < 9; ++k)
    for (size_t i = 0; i < alone.frames[k].pixels.size(); ++i)
      most = std::max(most, std::abs(alone.frames[k].pixels[i] - together.videos[1].frames[k].pixels[i]));
  CHECK(most <= 1);
  r.decode = false;
  CHECK(pipeline.generate(r).videos.empty());
}

TEST_CASE("A cache holds as much memory in a long run as in a short one", "[unit]") {
  const Pipeline pipeline(Bundle::load(test::data("families/wan")));
  const auto peak = [&](const Choice& cache, int steps) {
    const test::CountingAllocator::Scope scope(1);
    const auto latents = pipeline
                             .generate({.prompts = {"fox"},
                                        .steps = steps,
                                        .guidance = 4.0,
                                        .with = {cache},
                                        .width = 96,
                                        .height = 96,
                                        .frames = 9,
                                        .decode = false})
                             .sample.latents;
    return std::pair(scope.most(), static_cast<int64_t>(latents.nbytes()));
  };
  for (const Choice& cache :
       {Choice{"easy-cache", {{"threshold", 0.05}}}, Choice{"mag-cache", {{"ratios", "0.99"}}},
        Choice{"taylor-seer", {{"interval", 3}, {"order", 2}}}, Choice{"spectrum"},
        Choice{"cfg-cache", {{"interval", 3}, {"time_max", 1000}}}}) {
    CAPTURE(cache.name);
    const auto [short_run, latent] = peak(cache, 16);
    // What a step adds for good would be 24 times a latent.
    CHECK(peak(cache, 40).first < short_run + latent);
  }
}

TEST_CASE("One frame is a video of one frame", "[unit]") {
  const GenerateResult result = wan().generate(request(1));
  REQUIRE(result.videos.size() == 1);
  CHECK(result.videos[0].frames.size() == 1);
}

TEST_CASE("Numbers of frames that cannot be made name the nearest that can", "[unit]") {
  const Pipeline pipeline = wan();
  const auto refused = [&](int64_t frames) { return failure([&] { pipeline.generate(request(frames)); }); };
  CHECK_THAT(refused(10),
             Contains("frames: expected one more than a multiple of 4, got 10; the nearest are 9 and 13"));
  CHECK_THAT(refused(4), Contains("got 4; the nearest are 1 and 5"));
  CHECK_THAT(refused(0), Contains("got 0; the nearest is 1"));
  CHECK_THAT(refused(-7), Contains("got -7; the nearest is 1"));
}

TEST_CASE("Videos are decoded in tiles where they are asked for or needed", "[unit]") {
  const Pipeline pipeline = wan();
  GenerateRequest r = request(5);
  Decoding whole, tiles;
  r.observer = &whole;
  const GenerateResult plain = pipeline.generate(r);
  CHECK(whole.calls == 2);
  r.observer = &tiles;
  r.vae_tile = 32;
  const GenerateResult tiled = pipeline.generate(r);
  CHECK(tiles.calls == 2 * 2 * 2);  // latent frames, rows, columns
  CHECK(tiles.stages == 8);
  CHECK(tiled.vae_tile == 32);
  CHECK(at::equal(tiled.sample.latents, plain.sample.latents));
  CHECK_FALSE((tiled.videos == plain.videos));
  r.vae_tile = 33;
  CHECK_THAT(failure([&] { pipeline.generate(r); }),
             Contains("vae_tile: expected a positive multiple of 32 px, or 0 for one piece, got 33"));
}

TEST_CASE("Cancelling while a video is decoded leaves the pipeline usable", "[unit]") {
  const Pipeline pipeline = wan();
  GenerateRequest r = request();
  const GenerateResult expected = pipeline.generate(r);
  for (const std::optional<int64_t> tile : {std::optional<int64_t>{}, std::optional<int64_t>{32}}) {
    Decoding stop;
    stop.stop_at = 1;
    r.observer = &stop;
    r.vae_tile = tile;
    CHECK_THAT(failure([&] { pipeline.generate(r); }),
               Contains("Cancelled: the run was cancelled while video 1 was decoded"));
    CHECK(stop.stages == 2);
  }
  r.observer = nullptr;
  r.vae_tile.reset();
  CHECK((pipeline.generate(r).videos == expected.videos));
}

TEST_CASE("Whole runs of a video model end in diffusers' pixels", "[unit]") {
  const test::GoldenRuns golden("wan");
  const Pipeline pipeline = wan();
  for (const char* name :
       {"unipc-shift3-1f-8", "unipc-shift3-1f-20", "unipc-shift3-9f-8", "unipc-shift5-9f-8"}) {
    GenerateRequest r = golden.request(golden.named(name));
    r.decode = true;
    const GenerateResult result = pipeline.generate(r);
    REQUIRE(result.videos.size() == 1);
    const at::Tensor pixels = golden.tensors.at(std::string(name) + ".pictures")[0].transpose(0, 1);
    const std::vector<Image> expected = to_images(pixels);
    REQUIRE(result.videos[0].frames.size() == expected.size());
    int most = 0;
    for (size_t k = 0; k < expected.size(); ++k)
      for (size_t i = 0; i < expected[k].pixels.size(); ++i)
        most = std::max(most, std::abs(expected[k].pixels[i] - result.videos[0].frames[k].pixels[i]));
    CAPTURE(name);
    CHECK(most <= 1);  // a latent's rounding may move a value over the middle between two bytes
  }
}

}  // namespace GLINT_TEST_FILE
