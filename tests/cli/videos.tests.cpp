// glint generate with a video model: the forms a video is written in, and what is refused.
#include <glint/image/png.hpp>
#include <glint/io/safetensors.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/program.hpp"

#include <ATen/ops/randn.h>
#include <webp/demux.h>
#include <nlohmann/json.hpp>

using namespace glint;
using nlohmann::json;
using test::Contains;
using test::Outcome;
using test::Program;

namespace GLINT_TEST_FILE {

/// The program beside the tiny Wan bundle and a conditioning for it.
struct WanProgram : Program {
  WanProgram() {
    std::filesystem::create_directory_symlink(test::data("families/wan"), folder / "wan");
    write_safetensors(folder / "cond.safetensors",
                      {{"tokens", at::randn({7, 32})}, {"null_tokens", at::randn({7, 32})}});
  }

  /// Generates with small defaults.
  Outcome make(const std::string& more) const {
    return (*this)("generate -m wan --cond-in cond.safetensors --steps 2 --width 48 --height 32 -q " + more);
  }

  /// Frames and total time (ms) of an animation.
  std::pair<int, int> animation(const std::string& file) const {
    const std::string bytes = test::read_bytes(folder / file);
    const WebPData data{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
    WebPAnimDecoder* decoder = WebPAnimDecoderNew(&data, nullptr);
    REQUIRE(decoder);
    int frames = 0, end = 0;
    for (uint8_t* pixels = nullptr; WebPAnimDecoderHasMoreFrames(decoder); ++frames)
      REQUIRE(WebPAnimDecoderGetNext(decoder, &pixels, &end));
    WebPAnimDecoderDelete(decoder);
    return {frames, end};
  }
};

TEST_CASE("A video becomes an animated WebP, numbered PNGs or a folder of them", "[cli]") {
  const WanProgram glint;
  const Outcome clip = glint.make("--frames 9 --fps 10 -o clip.webp --json");
  INFO(clip.err);
  REQUIRE(clip.exit_code == 0);
  const json report = json::parse(clip.out);
  CHECK(report["images"] == json({"clip.webp"}));
  CHECK(report["frames"] == 9);
  CHECK(report["fps"] == 10.0);
  CHECK(report["vae_tile"] == 0);
  CHECK(glint.animation("clip.webp") == std::pair{9, 900});
  CHECK_THAT(test::read_bytes(glint.folder / "clip.webp"),
             Contains("glint:seed=\"0\"") && Contains("glint:frames=\"9\"") && Contains("glint:fps=\"10\""));

  std::filesystem::create_directory(glint.folder / "out");
  const Outcome numbered = glint(
      "generate -m wan --cond-in cond.safetensors --steps 2 --width 48 --height 32 "
      "--frames 9 -o out/shot_%03d.png --sheet sheet.png 2>err2.txt");
  REQUIRE(numbered.exit_code == 0);
  CHECK_THAT(numbered.out, Contains("out/shot_001.png\n") && Contains("out/shot_009.png\nsheet.png\n"));
  CHECK_FALSE(glint.exists("out/shot_010.png"));
  PngTexts texts;
  const Image frame = read_png(glint.folder / "out/shot_009.png", &texts);
  CHECK(frame.width == 48);
  CHECK(texts.at("seed") == "0");
  CHECK(read_png(glint.folder / "sheet.png").width == 3 * (48 + 4) - 4);

  // A folder is made where there is none. The same seed gives the same frames.
  REQUIRE(glint.make("--frames 9 -o frames/").exit_code == 0);
  CHECK(read_png(glint.folder / "frames/frame_0009.png") == frame);
  REQUIRE(glint.make("--frames 9 -o frames").exit_code == 0);
  CHECK_FALSE(glint.exists("frames/frame_0010.png"));

  REQUIRE(glint.make("--frames 1 -o still.png").exit_code == 0);
  CHECK(read_png(glint.folder / "still.png").height == 32);
  REQUIRE(glint.make("--frames 1 --enlarge 2").exit_code == 0);
  CHECK(glint.animation("glint.webp").first == 1);
  CHECK(WebPGetInfo(reinterpret_cast<const uint8_t*>(test::read_bytes(glint.folder / "glint.webp").data()),
                    std::filesystem::file_size(glint.folder / "glint.webp"), nullptr, nullptr));
}

TEST_CASE("Several videos get numbers of their own, and rows of a sheet", "[cli]") {
  const WanProgram glint;
  REQUIRE(glint.make("--frames 5 --count 2 -o clip.webp --sheet sheet.png").exit_code == 0);
  CHECK(glint.animation("clip-1.webp") == std::pair{5, 313});
  CHECK(glint.animation("clip-2.webp").first == 5);
  const Image sheet = read_png(glint.folder / "sheet.png");
  CHECK(sheet.width == 5 * (48 + 4) - 4);
  CHECK(sheet.height == 2 * (32 + 4) - 4);
  REQUIRE(glint.make("--frames 5 --count 2 -o parts/").exit_code == 0);
  CHECK(glint.exists("parts-1/frame_0005.png"));
  CHECK(glint.exists("parts-2/frame_0001.png"));
}

TEST_CASE("Tiles are chosen by --vae-tile", "[cli]") {
  const WanProgram glint;
  const Outcome tiled = glint.make("--frames 5 --vae-tile 32 -o t/f_%d.png --json");
  CHECK_THAT(tiled.err, Contains("there is no folder"));
  REQUIRE(glint.make("--frames 5 -o whole/").exit_code == 0);
  const Outcome again = glint.make("--frames 5 --vae-tile 32 -o tiles/ --json");
  REQUIRE(again.exit_code == 0);
  CHECK(json::parse(again.out)["vae_tile"] == 32);
  PngTexts texts;
  CHECK_FALSE(read_png(glint.folder / "tiles/frame_0005.png", &texts) ==
              read_png(glint.folder / "whole/frame_0005.png"));
  CHECK(texts.at("vae_tile") == "32");
}

TEST_CASE("Videos that cannot be made or written are refused before they are made", "[cli]") {
  const WanProgram glint;
  test::write_bytes(glint.folder / "file", "");
  const std::pair<const char*, const char*> cases[] = {
      {"--frames 10", "frames: expected one more than a multiple of 4, got 10; the nearest are 9 and 13"},
      {"--frames 9 --fps 0", "fps: expected 0.1 to 60, got 0"},
      {"--frames 9 --fps -24", "fps: expected 0.1 to 60, got -24"},
      {"--frames 9 --fps 500", "fps: expected 0.1 to 60, got 500"},
      {"--frames 9 -o clip.mp4",
       "clip.mp4: expected a .webp file for a video of 9 frames, a .png name with %04d in it, or a folder"},
      {"--frames 9 -o clip.png", "clip.png: expected a .webp file for a video of 9 frames"},
      {"--frames 9 -o clip_%s.png", "clip_%s.png: expected one number such as %04d in the name"},
      {"--frames 9 -o clip_%04d.webp",
       "clip_%04d.webp: an animation is one file; numbered frames are .png files"},
      {"--frames 9 -o file", "file: expected a folder, got a file"},
      {"--frames 9 --vae-tile 100",
       "vae_tile: expected a positive multiple of 32 px, or 0 for one piece, got 100"},
  };
  for (const auto& [arguments, message] : cases) {
    CAPTURE(arguments);
    const Outcome run = glint.make(arguments);
    CHECK(run.exit_code == 2);
    CHECK_THAT(run.err, Contains(message));
  }
  CHECK_THAT(glint.make("-o no/where.webp").err, Contains("there is no folder"));
  CHECK_THAT(glint.make("-o no/where/frames/").err, Contains("there is no folder"));
  // Pictures are no videos.
  CHECK_THAT(glint("generate x -m tiny --fps 8").err, Contains("fps: the model makes pictures, not videos"));
  CHECK_THAT(glint("generate x -m tiny --frames 5").err, Contains("makes pictures, not videos"));
  CHECK_THAT(glint("generate x -m tiny -o x.mp4").err, Contains("x.mp4: expected a .png or .webp file"));
}

TEST_CASE("A prompt becomes a clip of the size and length the model is made for", "[cli]") {
  const WanProgram glint;
  const Outcome run =
      glint("generate 'a small golden fox' --model wan --steps 1 --frames 9 -o clip.webp --json -q");
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK(json::parse(run.out)["solver"] == "unipc");
  CHECK(glint.animation("clip.webp") == std::pair{9, 563});
  int width = 0, height = 0;
  const std::string bytes = test::read_bytes(glint.folder / "clip.webp");
  CHECK(WebPGetInfo(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), &width, &height));
  CHECK((width == 832 && height == 480));
}

}  // namespace GLINT_TEST_FILE
