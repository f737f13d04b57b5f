// Encoders and decoders against diffusers' own, whole and in tiles; tools/golden/autoencoders.py wrote the
// files.
#include <glint/bundle/bundle.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/vae/image_decoder.hpp>
#include <glint/vae/image_encoder.hpp>
#include <glint/vae/video_decoder.hpp>
#include <glint/vae/video_encoder.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

using namespace glint;

namespace GLINT_TEST_FILE {

// The same kernels on the same inputs; weights of a frozen graph may be folded, which rounds once more. A
// pixel of 1/255 is 8e-3 of the range [-1,1].
constexpr double kTolerance = 1e-4;

double difference(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return a.sub(b).abs().max().item<double>();
}

Bundle family(const std::string& name) { return Bundle::load(test::data("families") / name); }

TensorMap golden(const std::string& name) {
  return read_safetensors(test::data("families") / name / "autoencoder.safetensors");
}

/// Pixels of a tile of `side` latent pixels.
VaeCall tiles(int64_t side, const VaeOptions& options) { return {.tile = side * options.spatial_scale}; }

/// Compares encoder and decoder with all four tensors of a case.
template <typename Decoder, typename Encoder>
void compare(const TensorMap& golden, const std::string& name, int64_t side, const Decoder& decoder,
             const Encoder& encoder) {
  const auto tensor = [&](const char* what) { return golden.at(name + "." + what); };
  const at::Tensor latents = tensor("latents"), pixels = tensor("pixels");
  const VaeCall tiled = tiles(side, decoder.options());
  CAPTURE(name);
  CHECK(difference(decoder.decode(latents), tensor("decoded")) < kTolerance);
  CHECK(difference(decoder.decode(latents, tiled), tensor("decoded_tiled")) < kTolerance);
  CHECK(difference(encoder.encode(pixels), tensor("encoded")) < kTolerance);
  CHECK(difference(encoder.encode(pixels, tiled), tensor("encoded_tiled")) < kTolerance);
}

TEST_CASE("Pictures are decoded and encoded as diffusers does, whole and in tiles", "[parity]") {
  for (const auto& [name, cases] : std::map<std::string, std::map<std::string, int64_t>>{
           {"sdxl", {{"both", 16}, {"wide", 16}, {"fits", 16}}}, {"flux", {{"both", 8}}}}) {
    const Bundle bundle = family(name);
    const TensorMap tensors = golden(name);
    for (const auto& [place, side] : cases)
      compare(tensors, place, side, *bundle.decoder(), *bundle.encoder());
  }
}

TEST_CASE("Videos are decoded and encoded as diffusers does, whole and in tiles", "[parity]") {
  const Bundle bundle = family("wan");
  const TensorMap tensors = golden("wan");
  for (const char* place : {"both", "one_frame", "fits"})
    compare(tensors, place, 4, *bundle.video_decoder(), *bundle.video_encoder());
}

TEST_CASE("Decoded latents of whole runs are the pipelines' pixels", "[parity]") {
  for (const std::string name : {"sdxl", "sd3", "flux", "wan"}) {
    const Bundle bundle = family(name);
    const TensorMap tensors = read_safetensors(test::data("families") / name / "golden.safetensors");
    int compared = 0;
    for (const auto& [key, pixels] : tensors) {
      const std::string end = ".pictures";
      if (!key.ends_with(end)) continue;
      const at::Tensor latents = tensors.at(key.substr(0, key.size() - end.size()) + ".latents");
      const at::Tensor decoded = name == "wan" ? bundle.video_decoder()->decode(latents)
                                               : bundle.decoder()->decode(latents).clamp(-1.0, 1.0);
      CAPTURE(name, key);
      CHECK(difference(decoded, pixels) < kTolerance);
      ++compared;
    }
    CHECK(compared >= 2);
  }
}

}  // namespace GLINT_TEST_FILE
