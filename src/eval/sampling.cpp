#include "eval/sampling.hpp"

#include <glint/core/error.hpp>
#include <glint/core/rng.hpp>
#include <glint/image/png.hpp>
#include <glint/io/sha256.hpp>
#include <glint/vae/image_decoder.hpp>

#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace glint::detail {
namespace {

namespace fs = std::filesystem;

/// Returns the mean HSV saturation of an image, 0 to 1.
double saturation_of(const Image& image) {
  double sum = 0.0;
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    const auto [low, high] = std::minmax({image.pixels[i], image.pixels[i + 1], image.pixels[i + 2]});
    if (high > 0) sum += static_cast<double>(high - low) / high;
  }
  return sum / static_cast<double>(image.width * image.height);
}

/// Returns the standard deviation of an image's Rec. 709 luma, 0 to 1.
double contrast_of(const Image& image) {
  double sum = 0.0, squares = 0.0;
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    const double luma =
        (0.2126 * image.pixels[i] + 0.7152 * image.pixels[i + 1] + 0.0722 * image.pixels[i + 2]) / 255.0;
    sum += luma;
    squares += luma * luma;
  }
  const auto count = static_cast<double>(image.width * image.height);
  return std::sqrt(std::max(0.0, squares / count - (sum / count) * (sum / count)));
}

/// Returns the image averaged over an 8 x 8 grid of cells.
Thumbnail thumbnail_of(const Image& image) {
  std::array<double, 3 * kThumbnailSide * kThumbnailSide> sums{};
  std::array<int64_t, kThumbnailSide * kThumbnailSide> counts{};
  for (int64_t y = 0; y < image.height; ++y) {
    for (int64_t x = 0; x < image.width; ++x) {
      const auto cell = static_cast<size_t>(y * kThumbnailSide / image.height * kThumbnailSide +
                                            x * kThumbnailSide / image.width);
      ++counts[cell];
      for (size_t c = 0; c < 3; ++c)
        sums[3 * cell + c] += image.pixels[static_cast<size_t>(3 * (y * image.width + x)) + c];
    }
  }
  Thumbnail thumbnail{};
  for (size_t i = 0; i < sums.size(); ++i)
    thumbnail[i] =
        static_cast<uint8_t>(std::lround(sums[i] / static_cast<double>(std::max<int64_t>(counts[i / 3], 1))));
  return thumbnail;
}

}  // namespace

fs::path picture_path(const Arm& arm, int64_t pair) {
  constexpr size_t kDigits = 12;  // of the name: arms hold characters that files cannot
  return fs::path("pictures") / fmt::format("{}-{:05}.png", sha256(arm.key()).substr(0, kDigits), pair);
}

PipelineSampler::PipelineSampler(const Pipeline& pipeline, const EvalRequest& request,
                                 const std::vector<Scorer>& scorers)
    : pipeline_(pipeline), request_(request), scorers_(scorers) {
  const Bundle& bundle = pipeline.bundle();
  GLINT_CHECK(!bundle.manifest().latent.frame_scale, InvalidArgument,
              "model '{}' makes videos; evaluations are of pictures", bundle.manifest().name);
  bundle.decoder();
  check_scorers();
}

const Scorer* PipelineSampler::scorer(const std::string& name) const {
  const auto found =
      std::find_if(scorers_.begin(), scorers_.end(), [&](const Scorer& s) { return s.name() == name; });
  return found == scorers_.end() ? nullptr : &*found;
}

/// Lets every scorer rate a white picture of the first pairs.
void PipelineSampler::check_scorers() {
  const Plan& plan = plan_of({});
  const auto pairs = static_cast<int64_t>(request_.prompts.size()) * request_.seeds;
  const int64_t size = std::min<int64_t>(2, pairs);
  const Prompt prompt = prompts_of(plan, 0, size);
  Image white{.width = plan.size.width, .height = plan.size.height};
  white.pixels.assign(static_cast<size_t>(3 * white.width * white.height), 255);
  const std::vector<Image> images(static_cast<size_t>(size), white);
  for (const Scorer& one : scorers_) {
    try {
      const at::Tensor scores = scored(one.name(), images, prompt, 0);
      for (int64_t i = 0; i < scores.numel(); ++i) {
        const double score = scores.data_ptr<double>()[i];
        GLINT_CHECK(std::isfinite(score), Numerical, "its score of '{}' is {}",
                    request_.prompts[static_cast<size_t>(i / request_.seeds)], score);
      }
    } catch (const Error& error) {
      if (error.code() == ErrorCode::Cancelled) throw;
      fail(error.code(), "scorer: '{}' cannot rate the pictures of model '{}': {}", one.name(),
           pipeline_.bundle().manifest().name, error.what());
    }
  }
}

std::string PipelineSampler::scorer_identity(const std::string& name) const {
  if (const Scorer* judge = scorer(name)) return judge->identity();
  const auto& components = pipeline_.bundle().manifest().components;
  const auto component = components.find(name);
  return component == components.end() ? name : component->second.sha256;
}

const Plan& PipelineSampler::plan_of(const Arm& arm) const {
  const std::string key = arm.key();
  const auto known = plans_.find(key);
  if (known != plans_.end()) return known->second;
  return plans_.emplace(key, pipeline_.resolve(with_arm(request_.generate, arm))).first->second;
}

ArmSettings PipelineSampler::settings(const Arm& arm) const {
  const Plan& plan = plan_of(arm);
  return {.steps = plan.sampler.schedule().steps(), .guidance = plan.guidance};
}

/// Encodes the prompts of some pairs: one conditional and one unconditional row each, since there are methods
/// that mix the two.
Prompt PipelineSampler::prompts_of(const Plan& plan, int64_t first, int64_t size) {
  std::vector<Conditioning> cond, uncond;
  Prompt last;
  int64_t encoded = -1;
  for (int64_t pair = first; pair < first + size; ++pair) {
    const int64_t prompt = pair / request_.seeds;
    if (prompt != encoded) {
      TokenizedPrompt words;
      last = pipeline_.encode(plan, request_.generate, request_.prompts[static_cast<size_t>(prompt)], &words);
      unknown_.insert(words.unknown.begin(), words.unknown.end());
      encoded = prompt;
    }
    cond.push_back(last.cond);
    uncond.push_back(last.uncond);
  }
  return {.cond = joined(cond), .uncond = joined(uncond)};
}

/// Samples some pairs from their own noise, or from a further candidate's. That comes from a stream of its
/// own and not from far away seeds: torch's generator looks at 32 bits of a seed.
SampleResult PipelineSampler::drawn(const Plan& plan, const Prompt& prompt, int64_t first, int64_t size,
                                    int candidate, bool measure) const {
  const uint64_t seed = request_.generate.seed + static_cast<uint64_t>(first);
  at::Tensor noise;
  if (candidate > 0)
    noise = NoiseStream(seed, size).fork(message("candidate {}", candidate)).normal(plan.latent_shape);
  return plan.sampler.sample({.prompt = prompt,
                              .seed = seed,
                              .batch = size,
                              .latent_shape = plan.latent_shape,
                              .noise = noise,
                              .observer = request_.generate.observer,
                              .effective_guidance = measure});
}

std::vector<Image> PipelineSampler::decoded(const Plan& plan, const at::Tensor& latents) const {
  std::vector<Image> images;
  for (int64_t b = 0; b < latents.size(0); ++b) {
    Observer* observer = request_.generate.observer;
    const VaeCall call{.tile = plan.vae_tile, .proceed = [observer](int64_t, int64_t) {
                         return !observer || observer->keep_going();
                       }};
    const at::Tensor pixels =
        pipeline_.bundle().decoder()->decode(latents.narrow(0, b, 1).to(at::kFloat), call);
    images.push_back(std::move(to_images(pixels).front()));
  }
  return images;
}

/// Scores 8-bit pictures of pairs first, first + 1, ..., which is what is seen of a run.   Shapes: returns
/// [B], float64 on the CPU.
at::Tensor PipelineSampler::scored(const std::string& name, const std::vector<Image>& images,
                                   const Prompt& prompt, int64_t first) const {
  std::vector<at::Tensor> pictures;
  std::vector<std::string> texts;
  for (const Image& image : images) {
    const auto pair = static_cast<size_t>(first) + pictures.size();
    pictures.push_back(to_tensor(image));
    texts.push_back(request_.prompts[pair / static_cast<size_t>(request_.seeds)]);
  }
  return (*scorer(name))(at::stack(pictures), prompt, texts);
}

void PipelineSampler::keep_pictures(const Arm& arm, int64_t first, const std::vector<Image>& images) const {
  for (size_t i = 0; i < images.size(); ++i) {
    const int64_t pair = first + static_cast<int64_t>(i);
    if (pair >= request_.pictures) return;
    const fs::path path = request_.folder / picture_path(arm, pair);
    std::error_code error;
    fs::create_directory(path.parent_path(), error);
    write_png(path, images[i], {{"arm", arm.key()}, {"pair", fmt::format("{}", pair)}});
  }
}

UnitResult PipelineSampler::sample(const Arm& arm, int64_t first, int64_t size, bool measure) {
  const Plan& plan = plan_of(arm);
  const Prompt prompt = prompts_of(plan, first, size);
  UnitResult unit{.first = first, .measured = measure};
  unit.pairs.resize(static_cast<size_t>(size));
  std::vector<Image> images;
  at::Tensor best;
  for (int candidate = 0; candidate < arm.candidates; ++candidate) {
    const SampleResult sample = drawn(plan, prompt, first, size, candidate, measure && candidate == 0);
    const auto measuring = sample.by_stage.find("effective-guidance");
    const Usage none, &measured = measuring == sample.by_stage.end() ? none : measuring->second;
    unit.rows += sample.usage.rows - measured.rows;
    unit.seconds += sample.usage.seconds - measured.seconds;
    for (size_t i = 0; i < sample.effective_guidance.size(); ++i) {
      unit.pairs[i].signed_scale = sample.effective_guidance[i].mean_signed_scale;
      unit.pairs[i].unsigned_scale = sample.effective_guidance[i].mean_unsigned_scale;
      unit.pairs[i].orthogonal = sample.effective_guidance[i].mean_orthogonal;
    }
    std::vector<Image> made = decoded(plan, sample.latents);
    const at::Tensor score = arm.candidates > 1 ? scored(arm.selector, made, prompt, first) : at::Tensor();
    if (candidate == 0) {
      images = std::move(made);
      best = score;
      continue;
    }
    for (size_t i = 0; i < made.size(); ++i) {
      double& highest = best.data_ptr<double>()[i];
      if (score.data_ptr<double>()[i] <= highest) continue;
      highest = score.data_ptr<double>()[i];
      images[i] = std::move(made[i]);
    }
  }
  for (const std::string& scorer : request_.scorers) {
    const at::Tensor scores = scored(scorer, images, prompt, first);
    for (size_t i = 0; i < images.size(); ++i) {
      const double score = scores.data_ptr<double>()[i];
      GLINT_CHECK(std::isfinite(score), Numerical, "{}: the score of '{}' with seed {} is {}", scorer,
                  request_.prompts[(static_cast<size_t>(first) + i) / static_cast<size_t>(request_.seeds)],
                  request_.generate.seed + static_cast<uint64_t>(first) + i, score);
      unit.pairs[i].scores.push_back(score);
    }
  }
  for (size_t i = 0; i < images.size(); ++i) {
    unit.pairs[i].saturation = saturation_of(images[i]);
    unit.pairs[i].contrast = contrast_of(images[i]);
    unit.pairs[i].thumbnail = thumbnail_of(images[i]);
  }
  keep_pictures(arm, first, images);
  return unit;
}

}  // namespace glint::detail
