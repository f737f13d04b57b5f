// What must hold for every encoder and decoder, however its input is cut: into frames, tiles or batches.
#include <glint/bundle/bundle.hpp>
#include <glint/image/png.hpp>
#include <glint/vae/image_decoder.hpp>
#include <glint/vae/image_encoder.hpp>
#include <glint/vae/video_decoder.hpp>
#include <glint/vae/video_encoder.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"
#include "tests/support/report.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <algorithm>
#include <mutex>

using namespace glint;
using test::Contains;
using test::failure;

namespace GLINT_TEST_FILE {

// Kernels of other sizes add up in another order, and a normalization that divides by little enlarges that:
// up to 3e-4 over many random inputs with these random weights. 1/255 is 8e-3 of [-1,1].
constexpr double kTolerance = 1e-3;

Bundle family(const std::string& name) { return Bundle::load(test::data("families") / name); }

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

at::Tensor range(const at::Tensor& x, int64_t dimension, int64_t from, int64_t to) {
  return x.narrow(dimension, from, to - from);
}

/// A decoder whose pixels depend on their own latent pixel alone, and which remembers the sizes it is given.
class Local final : public Network {
 public:
  explicit Local(int64_t scale) : scale_(scale) {}
  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    const std::lock_guard lock(mutex_);
    sizes_.push_back(inputs[0].sizes().vec());
    const at::Tensor rgb = inputs[0].narrow(1, 0, 3);
    return {at::upsample_nearest2d(rgb, {rgb.size(2) * scale_, rgb.size(3) * scale_})};
  }
  std::vector<std::vector<int64_t>> sizes() const { return sizes_; }

 private:
  int64_t scale_;
  mutable std::mutex mutex_;
  mutable std::vector<std::vector<int64_t>> sizes_;
};

/// A network that returns the same whatever it is given.
class Returns final : public Network {
 public:
  explicit Returns(std::vector<at::Tensor> outputs) : outputs_(std::move(outputs)) {}
  std::vector<at::Tensor> run(std::vector<at::Tensor>) const override { return outputs_; }

 private:
  std::vector<at::Tensor> outputs_;
};

/// A network that has less memory than it needs.
class TooLarge final : public Network {
 public:
  std::vector<at::Tensor> run(std::vector<at::Tensor>) const override {
    fail(ErrorCode::OutOfMemory, "the engine's message");
  }
};

/// Counts calls, and cancels one of them.
struct Calls {
  int64_t cancelled_at = -1, asked = 0, total = 0;
  VaeCall with_tile(int64_t tile) {
    return {.tile = tile, .proceed = [this](int64_t done, int64_t all) {
              CHECK(done == asked++);
              total = all;
              return done != cancelled_at;
            }};
  }
};

TEST_CASE("Tiles of a network that looks at nothing but its own pixel change nothing", "[property]") {
  const auto network = std::make_shared<Local>(8);
  const ImageDecoder decoder(network, {.channels = 4});
  for (const auto& [height, width] :
       {std::pair{24, 31}, {5, 17}, {17, 5}, {8, 9}, {13, 12}, {7, 25}, {1, 9}, {20, 6}}) {
    const at::Tensor latents = at::randn({2, 4, height, width});
    CAPTURE(height, width);
    CHECK(at::equal(decoder.decode(latents, {.tile = 64}), decoder.decode(latents)));
  }
  // No call is larger than a tile, whatever the picture.
  const size_t before = network->sizes().size();
  decoder.decode(at::randn({1, 4, 100, 60}), {.tile = 32});
  const auto sizes = network->sizes();
  CHECK(sizes.size() - before == 34 * 20);  // tiles begin every 3 latent pixels
  for (size_t i = before; i < sizes.size(); ++i) CHECK(std::max(sizes[i][2], sizes[i][3]) <= 4);
}

TEST_CASE("A picture that fits into one tile is decoded as without tiles, bit for bit", "[property]") {
  const Bundle sdxl = family("sdxl"), wan = family("wan");
  const at::Tensor latents = at::randn({2, 4, 16, 11}), video = at::randn({1, 16, 3, 4, 3});
  CHECK(at::equal(sdxl.decoder()->decode(latents, {.tile = 32}), sdxl.decoder()->decode(latents)));
  CHECK(at::equal(wan.video_decoder()->decode(video, {.tile = 32}), wan.video_decoder()->decode(video)));
  CHECK_FALSE(at::equal(sdxl.decoder()->decode(latents, {.tile = 24}), sdxl.decoder()->decode(latents)));
}

TEST_CASE("Frames are the same however latents are cut into calls", "[property]") {
  const Bundle wan = family("wan");
  const auto decoder = wan.video_decoder();
  const at::Tensor latents = at::randn({1, 16, 5, 3, 4});
  const at::Tensor whole = decoder->decode(latents);
  REQUIRE(whole.sizes() == at::IntArrayRef({1, 3, 17, 24, 32}));
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{1, 2, 3, 4, 5}, {2, 5}, {4, 5}, {5}}) {
    VideoState state;
    std::vector<at::Tensor> parts;
    int64_t from = 0;
    for (const int64_t to : cuts) {
      parts.push_back(decoder->decode_next(range(latents, 2, from, to), state));
      from = to;
    }
    CHECK(at::equal(at::cat(parts, 2), whole));
  }
  std::vector<int64_t> lengths;
  std::vector<at::Tensor> handed;
  decoder->decode(latents, [&](const at::Tensor& frames) {
    lengths.push_back(frames.size(2));
    handed.push_back(frames);
  });
  CHECK(lengths == std::vector<int64_t>{1, 4, 4, 4, 4});
  CHECK(at::equal(at::cat(handed, 2), whole));
}

TEST_CASE("Latents are the same however frames are cut into calls", "[property]") {
  const Bundle wan = family("wan");
  const auto encoder = wan.video_encoder();
  const at::Tensor frames = at::rand({1, 3, 13, 16, 24}) * 2 - 1;
  const at::Tensor whole = encoder->encode(frames);
  REQUIRE(whole.sizes() == at::IntArrayRef({1, 16, 4, 2, 3}));
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{1, 5, 9, 13}, {5, 13}, {9, 13}, {1, 13}}) {
    VideoState state;
    std::vector<at::Tensor> parts;
    int64_t from = 0;
    for (const int64_t to : cuts) {
      parts.push_back(encoder->encode_next(range(frames, 2, from, to), state));
      from = to;
    }
    CHECK(at::equal(at::cat(parts, 2), whole));
  }
}

TEST_CASE("What is remembered does not grow, and a copy of it continues alike", "[property]") {
  const Bundle wan = family("wan");
  const auto decoder = wan.video_decoder();
  const at::Tensor latents = at::randn({1, 16, 6, 3, 4});
  const auto bytes = [](const VideoState& state) {
    int64_t sum = 0;
    for (const at::Tensor& tensor : state.tensors) sum += static_cast<int64_t>(tensor.nbytes());
    return sum;
  };
  VideoState state;
  decoder->decode_next(range(latents, 2, 0, 2), state);
  const int64_t early = bytes(state);
  CHECK(early > 0);
  VideoState copy = state;
  const at::Tensor once = decoder->decode_next(range(latents, 2, 2, 6), state);
  CHECK(bytes(state) == early);
  CHECK(at::equal(decoder->decode_next(range(latents, 2, 2, 6), copy), once));
}

TEST_CASE("A sample does not depend on its batch, nor on earlier calls", "[property]") {
  const Bundle sdxl = family("sdxl"), wan = family("wan");
  const auto same = [](const char* what, const auto& function, const at::Tensor& x) {
    const at::Tensor together = function(x);
    CHECK(at::equal(function(x), together));
    double most = 0.0;
    for (int64_t b = 0; b < x.size(0); ++b) {
      const at::Tensor alone = function(x.narrow(0, b, 1));
      most = std::max(most, largest(alone - together.narrow(0, b, 1)));
    }
    test::report("{}: a sample alone is within {:.1e} of itself in a batch", what, most);
    CHECK(most < kTolerance);
  };
  for (const int64_t tile : {0, 32}) {
    const VaeCall call{.tile = tile};
    same(
        "sdxl decoder", [&](const at::Tensor& x) { return sdxl.decoder()->decode(x, call); },
        at::randn({3, 4, 20, 17}));
    same(
        "sdxl encoder", [&](const at::Tensor& x) { return sdxl.encoder()->encode(x, call); },
        at::rand({3, 3, 40, 34}));
    same(
        "wan decoder", [&](const at::Tensor& x) { return wan.video_decoder()->decode(x, call); },
        at::randn({2, 16, 3, 5, 4}));
    same(
        "wan encoder", [&](const at::Tensor& x) { return wan.video_encoder()->encode(x, call); },
        at::rand({2, 3, 9, 40, 32}));
  }
}

TEST_CASE("Tiles of a trained decoder stay close to one piece", "[property]") {
  const Bundle emoji = Bundle::load(test::source_dir() / "models/emoji-flow");
  const Image sheet = read_png(test::source_dir() / "docs/images/sheet.png");
  const at::Tensor pixels = to_tensor(sheet).unsqueeze(0).narrow(2, 0, 256).narrow(3, 0, 256);
  const at::Tensor latents = emoji.encoder()->encode(pixels);
  const at::Tensor whole = emoji.decoder()->decode(latents);
  const auto rms = [](const at::Tensor& x) { return 255.0 / 2.0 * x.square().mean().sqrt().item<double>(); };
  test::report("round trip of a sheet of emoji: {:.2f} of 255", rms(whole - pixels));
  double last = 255.0;
  for (const int64_t tile : {32, 64, 128}) {
    const double off = rms(emoji.decoder()->decode(latents, {.tile = tile}) - whole);
    test::report("tiles of {} px: {:.2f} of 255 off one piece", tile, off);
    CHECK(off < last);  // larger tiles see more of their surroundings
    last = off;
  }
  CHECK(last < 2.0);
}

TEST_CASE("Cancelling between tiles and frames leaves everything usable", "[property]") {
  const Bundle sdxl = family("sdxl"), wan = family("wan");
  const at::Tensor latents = at::randn({1, 4, 20, 37}), video = at::randn({1, 16, 3, 6, 9});
  const at::Tensor pixels = at::rand({1, 3, 40, 74}), frames = at::rand({1, 3, 9, 48, 72});
  const auto check = [](int64_t tile, int64_t total, const auto& run) {
    Calls all;
    const at::Tensor expected = run(all.with_tile(tile));
    CHECK(all.asked == total);
    CHECK(all.total == total);
    for (const int64_t at : {int64_t{0}, total / 2, total - 1}) {
      Calls calls{.cancelled_at = at};
      CHECK_THAT(failure([&] { run(calls.with_tile(tile)); }), Contains("Cancelled"));
      CHECK(calls.asked == at + 1);  // nothing is asked, or run, after that
      Calls again;
      CHECK(at::equal(run(again.with_tile(tile)), expected));
    }
  };
  check(32, 2 * 4, [&](const VaeCall& call) { return sdxl.decoder()->decode(latents, call); });
  check(32, 2 * 4, [&](const VaeCall& call) { return sdxl.encoder()->encode(pixels, call); });
  check(0, 3, [&](const VaeCall& call) { return wan.video_decoder()->decode(video, call); });
  check(32, 3 * 2 * 3, [&](const VaeCall& call) { return wan.video_decoder()->decode(video, call); });
  check(32, 3 * 2 * 3, [&](const VaeCall& call) { return wan.video_encoder()->encode(frames, call); });
}

TEST_CASE("Inputs that do not fit are refused by name", "[property]") {
  const Bundle sdxl = family("sdxl"), wan = family("wan");
  const auto decoder = sdxl.decoder();
  const auto encoder = sdxl.encoder();
  const auto video_decoder = wan.video_decoder();
  const auto video_encoder = wan.video_encoder();
  CHECK_THAT(failure([&] {
               decoder->decode(at::randn({1, 3, 8, 8}));
             }),
             Contains("ShapeMismatch: latents: expected [B,4,H,W], got [1,3,8,8]"));
  CHECK_THAT(failure([&] {
               video_decoder->decode(at::randn({1, 16, 8, 8}));
             }),
             Contains("expected [B,16,F,H,W], got [1,16,8,8]"));
  CHECK_THAT(failure([&] { video_decoder->decode(at::randn({1, 16, 0, 8, 8})); }), Contains("[1,16,0,8,8]"));
  CHECK_THAT(failure([&] {
               decoder->decode(at::zeros({1, 4, 8, 8}, at::kLong));
             }),
             Contains("UnsupportedDtype"));
  CHECK_THAT(failure([&] {
               decoder->decode(at::randn({1, 4, 8, 8}), {.tile = 12});
             }),
             Contains("tile: expected a positive multiple of 8 px, or 0 for one piece, got 12"));
  CHECK_THAT(failure([&] { decoder->decode(at::randn({1, 4, 8, 8}), {.tile = -8}); }), Contains("got -8"));
  CHECK_THAT(failure([&] {
               encoder->encode(at::rand({1, 3, 9, 8}));
             }),
             Contains("pixels: expected a height and width that are multiples of 2, got [1,3,9,8]"));
  CHECK_THAT(failure([&] {
               video_encoder->encode(at::rand({1, 3, 8, 16, 16}));
             }),
             Contains("expected one frame more than a multiple of 4, got 8"));
  CHECK_THAT(failure([&] { sdxl.video_decoder(); }),
             Contains("InvalidArgument: components.vae_decoder: model 'sdxl' makes pictures, not videos"));
  CHECK_THAT(failure([&] { wan.decoder(); }), Contains("model 'wan' makes videos, not pictures"));
  CHECK_THAT(failure([&] { ImageDecoder(nullptr, {}); }), Contains("expected a network"));
  CHECK_THAT(failure([&] { VideoDecoder(std::make_shared<Local>(8), nullptr, {}); }),
             Contains("expected a network"));
  CHECK_THAT(failure([&] {
               ImageDecoder(std::make_shared<Local>(8), {.spatial_scale = 4}).decode(at::randn({1, 4, 2, 2}));
             }),
             Contains("BadModel: image decoder: expected [1,3,8,8], got [1,3,16,16]"));
}

TEST_CASE("A state continues with the frames it knows, and is as it was after a refusal", "[property]") {
  const Bundle wan = family("wan");
  const auto video_decoder = wan.video_decoder();
  const auto video_encoder = wan.video_encoder();
  VideoState state;
  const at::Tensor latents = at::randn({1, 16, 2, 3, 4});
  video_decoder->decode_next(latents, state);
  VideoState before = state;
  CHECK_THAT(
      failure([&] {
        video_decoder->decode_next(at::randn({1, 16, 1, 3, 5}), state);
      }),
      Contains(
          "ShapeMismatch: latents: expected frames of shape [1,16,3,4] like those before, got [1,16,3,5]"));
  CHECK(at::equal(video_decoder->decode_next(latents, state), video_decoder->decode_next(latents, before)));
  VideoState encoded;
  CHECK_THAT(failure([&] {
               video_encoder->encode_next(at::rand({1, 3, 4, 16, 16}), encoded);
             }),
             Contains("expected a multiple of 4 frames and one more, the first, got 4"));
  video_encoder->encode_next(at::rand({1, 3, 1, 16, 16}), encoded);
  CHECK_THAT(failure([&] {
               video_encoder->encode_next(at::rand({1, 3, 1, 16, 16}), encoded);
             }),
             Contains("expected a multiple of 4 frames, got 1"));
}

TEST_CASE("What a network of an autoencoder returns is not believed", "[property]") {
  CHECK_THAT(failure([&] {
               ImageDecoder(std::make_shared<TooLarge>(), {}).decode(at::randn({1, 4, 2, 2}));
             }),
             Contains("OutOfMemory: image decoder: not enough memory for [1,4,2,2]; smaller tiles (vae_tile) "
                      "need less: the engine's message"));

  const auto first = std::make_shared<Returns>(std::vector{at::zeros({1, 3, 1, 8, 8}), at::zeros({1})});
  const auto next = std::make_shared<Returns>(std::vector{at::zeros({1, 3, 4, 8, 8})});
  const at::Tensor two = at::randn({1, 4, 2, 1, 1});
  CHECK_THAT(failure([&] { VideoDecoder(next, next, {}).decode(two); }),
             Contains("BadModel: video decoder: expected some states beside its output, got 0"));
  CHECK_THAT(failure([&] { VideoDecoder(first, next, {}).decode(two); }),
             Contains("BadModel: video decoder: expected 1 states beside its output, got 0"));
  CHECK_THAT(failure([&] { VideoDecoder(first, first, {}).decode(two); }),
             Contains("BadModel: video decoder: expected [1,3,4,8,8], got [1,3,1,8,8]"));
}

}  // namespace GLINT_TEST_FILE
