#include <glint/image/video.hpp>
#include <glint/image/webp.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <fmt/format.h>
#include <webp/demux.h>

using namespace glint;
using test::Contains;
using test::failure;
using test::TemporaryFolder;

namespace GLINT_TEST_FILE {

/// A bright square that moves over a gradient, so that no two frames are equal.
Video moving(size_t count, int64_t width = 24, int64_t height = 16, double rate = 16.0) {
  Video video{.frames_per_second = rate};
  for (size_t k = 0; k < count; ++k) {
    Image frame{width, height, {}};
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) {
        const bool inside = x / 4 == static_cast<int64_t>(k) % (width / 4) && y / 4 == 1;
        for (const int64_t value : {x * 8, y * 8, inside ? int64_t{250} : int64_t{40}})
          frame.pixels.push_back(static_cast<uint8_t>(value));
      }
    video.frames.push_back(std::move(frame));
  }
  return video;
}

/// What libwebp's own decoder finds in a file.
struct Read {
  std::vector<Image> frames;
  std::vector<int> ends;  ///< ms
  int loops = 0;
  std::string xmp;
};

Read read(const std::vector<uint8_t>& bytes) {
  const WebPData data{bytes.data(), bytes.size()};
  Read result;
  WebPAnimDecoder* decoder = WebPAnimDecoderNew(&data, nullptr);
  REQUIRE(decoder);
  WebPAnimInfo info;
  REQUIRE(WebPAnimDecoderGetInfo(decoder, &info));
  result.loops = static_cast<int>(info.loop_count);
  while (WebPAnimDecoderHasMoreFrames(decoder)) {
    uint8_t* rgba = nullptr;
    int end = 0;
    REQUIRE(WebPAnimDecoderGetNext(decoder, &rgba, &end));
    Image frame{info.canvas_width, info.canvas_height, {}};
    for (size_t i = 0; i < size_t{4} * info.canvas_width * info.canvas_height; ++i)
      if (i % 4 != 3) frame.pixels.push_back(rgba[i]);
    result.frames.push_back(std::move(frame));
    result.ends.push_back(end);
  }
  WebPChunkIterator chunk;
  if (WebPDemuxGetChunk(WebPAnimDecoderGetDemuxer(decoder), "XMP ", 1, &chunk))
    result.xmp.assign(reinterpret_cast<const char*>(chunk.chunk.bytes), chunk.chunk.size);
  WebPDemuxReleaseChunkIterator(&chunk);
  WebPAnimDecoderDelete(decoder);
  return result;
}

/// Root mean square difference of two pictures, of 255.
double difference(const Image& a, const Image& b) {
  REQUIRE(a.pixels.size() == b.pixels.size());
  double sum = 0.0;
  for (size_t i = 0; i < a.pixels.size(); ++i) {
    const double d = static_cast<double>(a.pixels[i]) - static_cast<double>(b.pixels[i]);
    sum += d * d;
  }
  return std::sqrt(sum / static_cast<double>(a.pixels.size()));
}

TEST_CASE("A WebP is read back with its frames and their times", "[unit]") {
  const Video video = moving(6);
  const Read exact = read(encode_webp(video, {.lossless = true, .loops = 3}));
  CHECK((exact.frames == video.frames));
  CHECK(exact.loops == 3);
  // 62.5 ms each, rounded where a frame ends, so that nothing drifts.
  CHECK(exact.ends == std::vector<int>{63, 125, 188, 250, 313, 375});

  const Read lossy = read(encode_webp(video));
  CHECK(lossy.loops == 0);
  CHECK(lossy.ends == exact.ends);
  REQUIRE(lossy.frames.size() == 6);
  for (size_t k = 0; k < 6; ++k) {
    CHECK(difference(lossy.frames[k], video.frames[k]) < 16.0);
    // The right frame, in its place: nearer to itself than to its neighbours.
    for (size_t other = 0; other < 6; ++other)
      if (other != k)
        CHECK(difference(lossy.frames[k], video.frames[k]) <
              difference(lossy.frames[k], video.frames[other]));
  }
  CHECK(read(encode_webp(moving(3, 24, 16, 60.0))).ends == std::vector<int>{17, 33, 50});
  CHECK(read(encode_webp(moving(2, 24, 16, 0.1))).ends == std::vector<int>{10000, 20000});
  CHECK(encode_webp(video, {.quality = 10.0}).size() < encode_webp(video, {.quality = 100.0}).size());
}

TEST_CASE("One frame is a still picture, and frames that are alike stay as many as they are", "[unit]") {
  const Read still = read(encode_webp(moving(1), {.lossless = true}));
  CHECK((still.frames == moving(1).frames));
  Video video = moving(3);
  video.frames[1] = video.frames[2] = video.frames[0];
  video.frames[2].pixels[0] ^= 1;
  for (const bool lossless : {true, false}) {
    const Read shown = read(encode_webp(video, {.lossless = lossless}));
    CHECK(shown.frames.size() == 3);
    CHECK(shown.ends == std::vector<int>{63, 125, 188});
  }
}

TEST_CASE("Texts of a WebP are in its XMP packet", "[unit]") {
  const Video video = moving(3);
  const Read told =
      read(encode_webp(video, {}, {{"prompt", "\"a\" <star> & \xE2\x98\x85\n\x01"}, {"seed", "42"}}));
  CHECK(told.frames.size() == 3);
  CHECK_THAT(told.xmp,
             Contains("glint:prompt=\"&quot;a&quot; &lt;star> &amp; \xE2\x98\x85&#10;\xEF\xBF\xBD\"") &&
                 Contains("glint:seed=\"42\"") && Contains("</x:xmpmeta>"));
  const PngTexts texts{{"prompt", "\"a\" <star> & \xE2\x98\x85\n\t&amp;"}, {"request", "{\"a\":[1,\"b\"]}"}};
  CHECK(webp_texts(encode_webp(video, {}, texts)) == texts);
  CHECK(webp_texts(encode_webp(moving(1), {}, texts)) == texts);
  CHECK(webp_texts(encode_webp(video)).empty());
  CHECK(webp_texts({}).empty());
  CHECK(read(encode_webp(video)).xmp.empty());
  CHECK_THAT(read(encode_webp(moving(1), {}, {{"seed", "1"}})).xmp, Contains("glint:seed=\"1\""));
  CHECK_THAT(failure([&] { encode_webp(video, {}, {{"Not a name", ""}}); }), Contains("keyword"));
  CHECK_THAT(failure([&] { encode_webp(video, {}, {{"prompt", "\xFF"}}); }), Contains("not UTF-8"));
}

TEST_CASE("Videos that cannot be a WebP are refused", "[unit]") {
  const TemporaryFolder folder;
  const auto refused = [](const Video& video, const WebpOptions& options = {}) {
    return failure([&] { encode_webp(video, options); });
  };
  CHECK_THAT(refused({}), Contains("InvalidArgument: webp: expected at least one frame"));
  for (const double rate : {0.0, -1.0, 61.0, std::nan("")})
    CHECK_THAT(refused(moving(2, 24, 16, rate)),
               Contains("frames_per_second: expected 0.1 to 60, got ") && Contains("InvalidArgument"));
  Video uneven = moving(2);
  uneven.frames.push_back(moving(1, 16, 16).frames[0]);
  CHECK_THAT(refused(uneven), Contains("expected frames of one size, got 24x16 and 16x16"));
  CHECK_THAT(refused({.frames = {{2, 2, {1}}}}), Contains("1 bytes do not fit 2x2"));
  CHECK_THAT(refused({.frames = {{0, 2, {}}}}), Contains("expected sides of 1 to 16383 px, got 0x2"));
  CHECK_THAT(refused({.frames = {Image{16384, 1, std::vector<uint8_t>(3 * 16384)}}}),
             Contains("got 16384x1"));
  CHECK_THAT(refused(moving(2), {.quality = 101.0}), Contains("quality: expected 0 to 100, got 101"));
  CHECK_THAT(refused(moving(2), {.loops = -1}), Contains("loops: expected 0 to 65535, got -1"));
  CHECK_THAT(failure([&] { write_webp(folder / "no/x.webp", moving(2)); }),
             Contains("NotFound: ") && Contains("x.webp"));
  CHECK_THAT(failure([&] { write_webp(folder.path(), moving(2)); }), Contains("InvalidArgument: "));
  write_webp(folder / "x.webp", moving(2));
  CHECK(std::filesystem::file_size(folder / "x.webp") > 100);
}

TEST_CASE("Frames are numbered from 1 where the name says so", "[unit]") {
  const TemporaryFolder folder;
  CHECK(frame_path("a/clip_%04d.png", 0) == "a/clip_0001.png");
  CHECK(frame_path("a/clip_%04d.png", 12344) == "a/clip_12345.png");
  CHECK(frame_path("%d.png", 9) == "10.png");
  CHECK(frame_path("%3d.png", 0) == "  1.png");
  CHECK(frame_path("50%d/clip.%02d.png", 0) == "50%d/clip.01.png");  // only the name is a pattern
  CHECK_FALSE(numbers_frames("a/clip.png"));
  for (const char* bad : {"%s.png", "%04d_%d.png", "100%.png", "%0d.png", "%12d.png", "%", "%%d.png"}) {
    CAPTURE(bad);
    CHECK_THAT(failure([&] { frame_path(bad, 0); }), Contains("expected one number such as %04d"));
  }
  CHECK_THAT(failure([] { frame_path("clip.png", 0); }),
             Contains("clip.png: expected a number such as %04d"));

  const Video video = moving(3);
  const auto paths = write_frames(folder / "f_%02d.png", video, {{"seed", "4"}});
  REQUIRE(paths.size() == 3);
  for (size_t k = 0; k < 3; ++k) {
    PngTexts texts;
    CHECK(read_png(folder / fmt::format("f_0{}.png", k + 1), &texts) == video.frames[k]);
    CHECK(texts.at("seed") == "4");
  }
  CHECK_THAT(failure([&] { write_frames(folder / "x_%d.png", {}); }), Contains("at least one frame"));
  CHECK_THAT(failure([&] { write_frames(folder / "no/x_%d.png", video); }), Contains("NotFound"));
}

}  // namespace GLINT_TEST_FILE
