#include "pipeline/sizes.hpp"

#include <glint/core/error.hpp>
#include <glint/io/utf8.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace glint::detail {
namespace {

// Largest image and video frame decoded untiled, px, and the tile sides beyond.
constexpr double kLargestPiece = 1 << 21, kLargestVideoPiece = 1 << 19;
constexpr int64_t kTile = 1024, kVideoTile = 512;

constexpr int64_t kMostSamples = int64_t{1} << 31, kMostFrames = int64_t{1} << 16;
constexpr int64_t kMostPixels = int64_t{1} << 28;  // of a picture or frame

/// Returns the height or width in latent units.
int64_t latent_size(std::optional<int64_t> pixels, std::optional<int64_t> fallback, const LatentSpec& latent,
                    const char* name) {
  const int64_t scale = latent.spatial_scale, unit = scale * latent.multiple;
  GLINT_CHECK(pixels || fallback, InvalidArgument, "{}: this model has no default; give one", name);
  const int64_t size = pixels ? *pixels : *fallback * scale;
  GLINT_CHECK(size > 0 && size % unit == 0, InvalidArgument, "{}: expected a positive multiple of {}, got {}",
              name, unit, size);
  GLINT_CHECK(!latent.largest || size / scale <= *latent.largest, InvalidArgument,
              "{}: expected at most {}, got {}", name, *latent.largest * scale, size);
  GLINT_CHECK(size <= kMostPixels, InvalidArgument, "{}: expected at most {}, got {}", name, kMostPixels,
              size);
  GLINT_CHECK(!latent.fixed_size || !fallback || size == *fallback * scale, InvalidArgument,
              "{}: the model makes {} px and nothing else, got {}", name, *fallback * scale, size);
  return size / scale;
}

void check_area(int64_t height, int64_t width, const LatentSpec& latent) {
  const int64_t h = height * latent.spatial_scale, w = width * latent.spatial_scale;
  GLINT_CHECK(h <= kMostPixels / w, InvalidArgument,
              "width and height: expected at most {} pixels, got {} x {}", kMostPixels, w, h);
}

void check_text(const std::string& name, const std::string& text) {
  GLINT_CHECK(text.size() <= kLongestPrompt, InvalidArgument, "{}: expected at most {} bytes, got {}", name,
              kLongestPrompt, text.size());
  if (const auto offset = invalid_utf8_offset(text))
    fail(ErrorCode::InvalidArgument, "{}: not UTF-8 at byte offset {}", name, *offset);
}

/// Returns the shape of one sample's noise, checked like requested sizes.
std::vector<int64_t> noise_shape(const at::Tensor& noise, const LatentSpec& latent) {
  const int64_t rank = latent.frame_scale ? 5 : 4;
  GLINT_CHECK(noise.dim() == rank && noise.size(0) >= 1 && noise.size(1) == latent.channels, ShapeMismatch,
              "noise: expected [B,{},{}H,W] with B >= 1, got {}", latent.channels,
              latent.frame_scale ? "F," : "", shape_string(noise.sizes()));
  for (const int64_t side : {noise.size(-2), noise.size(-1)})
    GLINT_CHECK(side <= kMostPixels / latent.spatial_scale, InvalidArgument,
                "noise: expected sides of at most {} px, got {} latents", kMostPixels, side);
  latent_size(noise.size(-2) * latent.spatial_scale, {}, latent, "noise: height");
  latent_size(noise.size(-1) * latent.spatial_scale, {}, latent, "noise: width");
  check_area(noise.size(-2), noise.size(-1), latent);
  return noise.sizes().slice(1).vec();
}

int64_t latent_frames(int64_t frames, int64_t scale) {
  const int64_t below = frames < 1 ? 1 : frames - (frames - 1) % scale;
  GLINT_CHECK(frames <= kMostFrames, InvalidArgument, "frames: expected at most {}, got {}", kMostFrames,
              frames);
  GLINT_CHECK(frames == below, InvalidArgument,
              "frames: expected one more than a multiple of {}, got {}; the nearest {}", scale, frames,
              frames < 1 ? "is 1" : fmt::format("are {} and {}", below, below + scale));
  return (frames - 1) / scale + 1;
}

}  // namespace

void check_numbers(const GenerateRequest& request) {
  const auto in_range = [](const char* name, int64_t value, int64_t least) {
    GLINT_CHECK(value >= least, InvalidArgument, "{}: expected at least {}, got {}", name, least, value);
    GLINT_CHECK(value <= kMostSamples, InvalidArgument, "{}: expected at most {}, got {}", name, kMostSamples,
                value);
  };
  in_range("count", request.count, 1);
  in_range("batch", request.batch, 1);
  in_range("first", request.first, 0);
  in_range("limit", request.limit.value_or(1), 1);
  GLINT_CHECK(request.prompts.size() <= static_cast<size_t>(kMostSamples), InvalidArgument,
              "prompts: expected at most {}, got {}", kMostSamples, request.prompts.size());
}

void check_share(const Share& share) {
  GLINT_CHECK(share.ranks >= 1, InvalidArgument, "ranks: expected at least 1, got {}", share.ranks);
  GLINT_CHECK(share.rank >= 0 && share.rank < share.ranks, InvalidArgument,
              "rank: expected a value in [0, {}], got {}", share.ranks - 1, share.rank);
  GLINT_CHECK(share.patience >= 0.0, InvalidArgument, "patience: expected at least 0 s, got {}",
              share.patience);
}

void check_prompts(const GenerateRequest& request) {
  GLINT_CHECK(request.conditioning || !request.prompts.empty(), InvalidArgument,
              "prompts: expected at least one, got none");
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const bool several = request.prompts.size() > 1;
    check_text(several ? fmt::format("prompts[{}]", i) : std::string("prompt"), request.prompts[i]);
  }
  if (request.negative) check_text("negative", *request.negative);
  for (const auto& [name, text] : prompt_field_texts(request.text)) check_text(name, text);
}

std::vector<int64_t> latent_shape(const GenerateRequest& request, const Manifest& manifest) {
  const LatentSpec& latent = manifest.latent;
  if (request.noise.defined()) return noise_shape(request.noise, latent);
  std::vector<int64_t> shape{latent.channels};
  if (latent.frame_scale) {
    const int64_t frames = request.frames.value_or((latent.frames.value_or(1) - 1) * *latent.frame_scale + 1);
    shape.push_back(latent_frames(frames, *latent.frame_scale));
  } else {
    GLINT_CHECK(!request.frames, InvalidArgument, "frames: model '{}' makes pictures, not videos",
                manifest.name);
  }
  shape.push_back(latent_size(request.height, latent.height, latent, "height"));
  shape.push_back(latent_size(request.width, latent.width, latent, "width"));
  check_area(shape[shape.size() - 2], shape.back(), latent);
  return shape;
}

int64_t tile_side(const GenerateRequest& request, const LatentSpec& latent,
                  const std::vector<int64_t>& shape) {
  const int64_t unit = 4 * latent.spatial_scale;
  if (request.vae_tile) {
    GLINT_CHECK(*request.vae_tile >= 0 && *request.vae_tile % unit == 0, InvalidArgument,
                "vae_tile: expected a positive multiple of {} px, or 0 for one piece, got {}", unit,
                *request.vae_tile);
    return *request.vae_tile;
  }
  const auto side = [&](size_t from_end) {
    return static_cast<double>(shape[shape.size() - from_end] * latent.spatial_scale);
  };
  const double largest = latent.frame_scale ? kLargestVideoPiece : kLargestPiece;
  if (side(1) * side(2) <= largest) return 0;
  return std::max((latent.frame_scale ? kVideoTile : kTile) / unit, int64_t{1}) * unit;
}

}  // namespace glint::detail
