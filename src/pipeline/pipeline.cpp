#include "network/torch_errors.hpp"

#include <glint/core/schedule_flow.hpp>
#include <glint/pipeline/pipeline.hpp>
#include <glint/vae/image_decoder.hpp>
#include <glint/vae/video_decoder.hpp>

#include <chrono>

namespace glint {
namespace {

// Where decoding in one piece ends, px of a picture or frame, and how large tiles are then.
constexpr double kLargestPiece = 1 << 21, kLargestVideoPiece = 1 << 19;
constexpr int64_t kTile = 1024, kVideoTile = 512;

/// Adds the time until its destruction to a figure.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() {
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Makes `all` the mean over its samples and the part's, of which the part's are `share`.
void average(EffectiveGuidance& all, const EffectiveGuidance& part, double share) {
  const auto blend = [share](double& a, double b) { a = std::lerp(a, b, share); };
  const auto blend_all = [&](std::vector<double>& a, const std::vector<double>& b) {
    for (size_t i = 0; i < a.size(); ++i) blend(a[i], b[i]);
  };
  blend_all(all.signed_scale, part.signed_scale);
  blend_all(all.unsigned_scale, part.unsigned_scale);
  blend_all(all.orthogonal, part.orthogonal);
  blend(all.mean_signed_scale, part.mean_signed_scale);
  blend(all.mean_unsigned_scale, part.mean_unsigned_scale);
  blend(all.mean_orthogonal, part.mean_orthogonal);
}

/// Appends one batch's latents and trajectory, and adds its cost.
void append(SampleResult& all, SampleResult&& part) {
  all.steps = part.steps;
  all.latents = all.latents.defined() ? at::cat({all.latents, part.latents}) : part.latents;
  if (all.trajectory.empty()) {
    all.trajectory = std::move(part.trajectory);
  } else {
    for (size_t i = 0; i < all.trajectory.size(); ++i)
      all.trajectory[i] = at::cat({all.trajectory[i], part.trajectory[i]});
  }
  for (const auto& [stage, figures] : part.reports)
    for (const auto& [name, values] : figures) {
      auto& list = all.reports[stage][name];
      list.insert(list.end(), values.begin(), values.end());
    }
  if (!all.effective_guidance) {
    all.effective_guidance = std::move(part.effective_guidance);
  } else {
    const double share = static_cast<double>(part.latents.size(0)) / static_cast<double>(all.latents.size(0));
    average(*all.effective_guidance, *part.effective_guidance, share);
  }
  all.usage += part.usage;
  for (const auto& [stage, usage] : part.by_stage) all.by_stage[stage] += usage;
}

/// Height or width in latent units.
int64_t latent_size(std::optional<int64_t> pixels, std::optional<int64_t> fallback, const LatentSpec& latent,
                    const char* name) {
  const int64_t scale = latent.spatial_scale, unit = scale * latent.multiple;
  GLINT_CHECK(pixels || fallback, InvalidArgument, "{}: this model has no default; give one", name);
  const int64_t size = pixels ? *pixels : *fallback * scale;
  GLINT_CHECK(size > 0 && size % unit == 0, InvalidArgument, "{}: expected a positive multiple of {}, got {}",
              name, unit, size);
  GLINT_CHECK(!latent.largest || size / scale <= *latent.largest, InvalidArgument,
              "{}: expected at most {}, got {}", name, *latent.largest * scale, size);
  return size / scale;
}

/// The shape of one sample's noise, checked as sizes are.
std::vector<int64_t> noise_shape(const at::Tensor& noise, const LatentSpec& latent) {
  const int64_t rank = latent.frame_scale ? 5 : 4;
  GLINT_CHECK(noise.dim() == rank && noise.size(0) >= 1 && noise.size(1) == latent.channels, ShapeMismatch,
              "noise: expected [B,{},{}H,W] with B >= 1, got {}", latent.channels,
              latent.frame_scale ? "F," : "", shape_string(noise.sizes()));
  latent_size(noise.size(-2) * latent.spatial_scale, {}, latent, "noise: height");
  latent_size(noise.size(-1) * latent.spatial_scale, {}, latent, "noise: width");
  return noise.sizes().slice(1).vec();
}

int64_t latent_frames(int64_t frames, int64_t scale) {
  const int64_t below = frames < 1 ? 1 : frames - (frames - 1) % scale;
  GLINT_CHECK(frames == below, InvalidArgument,
              "frames: expected one more than a multiple of {}, got {}; the nearest {}", scale, frames,
              frames < 1 ? "is 1" : fmt::format("are {} and {}", below, below + scale));
  return (frames - 1) / scale + 1;
}

NoiseSchedule build_schedule(const ScheduleSpec& spec, const GridOptions& grid, GridConvention convention) {
  return spec.kind == NoiseKind::Flow ? flow_schedule(spec.flow, grid, convention)
                                      : vp_schedule(spec.vp, grid, convention);
}

/// Refuses schedule options that the model's kind of grid does not have.
void check_schedule_options(const OptionValues& options, NoiseKind kind) {
  const std::vector<std::string> flow{"sigmas", "rho", "shift"};
  const std::vector<std::string> vp{"spacing", "steps_offset", "sigmas", "rho", "terminal"};
  const auto has = [](const auto& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const auto& [name, value] : options)
    GLINT_CHECK(
        has(kind == NoiseKind::Flow ? flow : vp, name) || !has(kind == NoiseKind::Flow ? vp : flow, name),
        InvalidArgument, "schedule.{}: does not apply to a {} model", name, enum_name(kind));
}

}  // namespace

Prompt prompt_from_tensors(const std::map<std::string, at::Tensor>& tensors) {
  Prompt prompt;
  const auto take = [&](const std::string& name, int64_t rank) -> at::Tensor {
    const auto found = tensors.find(name);
    if (found == tensors.end()) return {};
    GLINT_CHECK(found->second.dim() == rank && at::isFloatingType(found->second.scalar_type()), BadModel,
                "conditioning.{}: expected {} dimensions of floating point, got {} of {}", name, rank,
                shape_string(found->second.sizes()), c10::toString(found->second.scalar_type()));
    return found->second.to(at::kFloat).unsqueeze(0);
  };
  const std::vector<std::string> known{"tokens", "pooled", "null_tokens", "null_pooled"};
  for (const auto& [name, tensor] : tensors)
    GLINT_CHECK(std::find(known.begin(), known.end(), name) != known.end(), BadModel,
                "conditioning: unknown tensor '{}'{}", name, did_you_mean(name, known));
  prompt.cond = {.tokens = take("tokens", 2), .pooled = take("pooled", 1)};
  prompt.uncond = {.tokens = take("null_tokens", 2), .pooled = take("null_pooled", 1)};
  GLINT_CHECK(prompt.cond.tokens.defined(), BadModel,
              "conditioning: expected a tensor 'tokens' [L,D], got none");
  return prompt;
}

Pipeline::Pipeline(Bundle bundle, Registry registry)
    : bundle_(std::move(bundle)), registry_(std::move(registry)) {}

double Pipeline::guidance_scale(const GenerateRequest& request) const {
  if (request.guidance) return *request.guidance;
  const auto range = registry_.solver(solver_choice(request))->guidance_range();
  return range ? range->fallback : bundle_.manifest().guidance.default_scale;
}

/// The guidance scale is the rule's, or the network's input, but never both and never nobody's.
Choice Pipeline::rule_choice(const GenerateRequest& request) const {
  Choice rule = request.rule.value_or(Choice{.name = "cfg"});
  const auto& options = registry_.entry("rule", rule.name).options;
  const bool has_scale =
      std::any_of(options.begin(), options.end(), [](const auto& o) { return o.name == "scale"; });
  if (bundle_.manifest().guidance.embedded) {
    if (has_scale) rule.options.emplace("scale", 1.0);
    return rule;
  }
  GLINT_CHECK(!request.guidance || (has_scale && !rule.options.contains("scale")), InvalidArgument,
              "guidance: {}; give one of the two",
              has_scale ? fmt::format("rule '{}' is given a scale of its own", rule.name)
                        : fmt::format("rule '{}' has no scale", rule.name));
  if (!has_scale) return rule;
  const OptionValue scale = rule.options.emplace("scale", guidance_scale(request)).first->second;
  const std::optional<double> number = detail::number_in(scale);
  const Choice solver = solver_choice(request);
  const auto range = registry_.solver(solver)->guidance_range();
  GLINT_CHECK(!range || !number || (range->smallest <= *number && *number <= range->largest), InvalidArgument,
              "guidance: solver '{}' takes scales in [{}, {}], got {}", solver.name, range->smallest,
              range->largest, *number);
  return rule;
}

Choice Pipeline::solver_choice(const GenerateRequest& request) const {
  if (request.solver) return *request.solver;
  if (!bundle_.manifest().default_solver.empty()) return {.name = bundle_.manifest().default_solver};
  return {.name = bundle_.manifest().schedule.kind == NoiseKind::Flow ? "flow-euler" : "euler"};
}

std::vector<int64_t> Pipeline::latent_shape(const GenerateRequest& request) const {
  const LatentSpec& latent = bundle_.manifest().latent;
  if (request.noise.defined()) return noise_shape(request.noise, latent);
  std::vector<int64_t> shape{latent.channels};
  if (latent.frame_scale) {
    const int64_t frames = request.frames.value_or((latent.frames.value_or(1) - 1) * *latent.frame_scale + 1);
    shape.push_back(latent_frames(frames, *latent.frame_scale));
  } else {
    GLINT_CHECK(!request.frames, InvalidArgument, "frames: model '{}' makes pictures, not videos",
                bundle_.manifest().name);
  }
  shape.push_back(latent_size(request.height, latent.height, latent, "height"));
  shape.push_back(latent_size(request.width, latent.width, latent, "width"));
  return shape;
}

Sampler Pipeline::build_sampler(const GenerateRequest& request) const {
  const Manifest& manifest = bundle_.manifest();
  const std::shared_ptr<const Solver> solver = registry_.solver(solver_choice(request));
  check_schedule_options(request.schedule, manifest.schedule.kind);
  GridOptions grid = read_options("schedule", request.schedule, manifest.schedule.grid);
  grid.steps = request.steps.value_or(static_cast<int>(manifest.default_steps.value_or(20)));
  if (manifest.schedule.flow.dynamic) {
    const std::vector<int64_t> shape = latent_shape(request);
    const int64_t patch = manifest.latent.patch;
    grid.tokens = static_cast<double>((shape.back() / patch) * (shape[shape.size() - 2] / patch));
  }

  Predictor predictor{.model = bundle_.model(), .adapters = request.adapters};
  if (predictor.model->info().embedded_guidance) predictor.embedded_guidance = guidance_scale(request);
  BuildContext context{.bundle = &bundle_};
  const LatentSpec& latent = manifest.latent;
  if (request.noise.defined() || ((request.height || latent.height) && (request.width || latent.width)))
    context.latent_shape = latent_shape(request);
  context.encode = [this, &request, device = at::Device(predictor.model->info().device)](std::string_view prompt) {
    const auto encoder = bundle_.prompt_encoder(request.adapters);
    return to_device(encoder->encode(prompt, picture_size(request)).conditioning, device);
  };
  predictor.rule = registry_.rule(rule_choice(request), context);
  for (const Choice& choice : request.filters) predictor.rule = registry_.filter(choice, context)(predictor.rule);
  if (request.attention) predictor.attention = *registry_.attention(*request.attention);

  SamplerParts parts{.predictor = std::move(predictor),
                     .schedule = build_schedule(manifest.schedule, grid, solver->grid()),
                     .solver = solver};
  for (const Choice& choice : request.noise_strategies)
    parts.noise_strategies.push_back(registry_.noise(choice, context));
  for (const Choice& choice : request.step_strategies)
    parts.step_strategies.push_back(registry_.step(choice, context));
  return Sampler(std::move(parts));
}

PictureSize Pipeline::picture_size(const GenerateRequest& request) const {
  const std::vector<int64_t> shape = latent_shape(request);
  const int64_t scale = bundle_.manifest().latent.spatial_scale;
  return {.height = shape[shape.size() - 2] * scale, .width = shape.back() * scale};
}

Prompt Pipeline::encode(const GenerateRequest& request, GenerateResult& result) const {
  const Manifest& manifest = bundle_.manifest();
  const PictureSize size = picture_size(request);
  if (request.conditioning)
    return {.cond = with_size(request.conditioning->cond, manifest.family, size),
            .uncond = with_size(request.conditioning->uncond, manifest.family, size)};
  const auto encoder = bundle_.prompt_encoder(request.adapters);
  EncodedPrompt cond = encoder->encode(request.prompt, size);
  result.prompt = std::move(cond.tokenized);
  const bool zeros = manifest.guidance.zero_uncond && !request.negative;
  Conditioning uncond =
      zeros ? zeroed(cond.conditioning) : encoder->encode(request.negative.value_or(""), size).conditioning;
  return {.cond = std::move(cond.conditioning), .uncond = std::move(uncond)};
}

Sampler Pipeline::sampler(const GenerateRequest& request) const {
  return detail::engine_errors_translated(ErrorCode::Internal, "sampler",
                                          [&] { return build_sampler(request); });
}

SampleRequest Pipeline::sample_request(const GenerateRequest& request, TokenizedPrompt* words) const {
  return detail::engine_errors_translated(ErrorCode::Internal, "sample_request", [&] {
    GenerateResult told;
    SampleRequest sample{.prompt = encode(request, told), .seed = request.seed};
    sample.latent_shape = latent_shape(request);
    if (words) *words = std::move(told.prompt);
    return sample;
  });
}

void Pipeline::preload(const GenerateRequest& request) const {
  detail::engine_errors_translated(ErrorCode::Internal, "preload", [&] {
    build_sampler(request);
    if (!request.conditioning) bundle_.prompt_encoder(request.adapters);
    if (!request.decode) return;
    if (bundle_.manifest().latent.frame_scale)
      bundle_.video_decoder();
    else
      bundle_.decoder();
  });
}

std::vector<AttentionCall> Pipeline::attention_calls(const GenerateRequest& request) const {
  return detail::engine_errors_translated(ErrorCode::Internal, "attention_calls", [&] {
    const Sampler sampler = build_sampler(request);
    const Predictor& predictor = sampler.predictor();
    GenerateResult ignored;
    const Prompt prompt = encode(request, ignored);
    std::vector<int64_t> shape = latent_shape(request);
    shape.insert(shape.begin(), 1);
    const at::Tensor x = at::zeros(shape, at::TensorOptions().device(at::Device(predictor.model->info().device)));
    std::vector<AttentionCall> calls;
    const AttentionScope scope(predictor.attention, &calls);
    const Conditioning* branch = &prompt.cond;
    predictor.model->predict({.x = x,
                        .level = sampler.schedule().level(0),
                        .branches = {&branch, 1},
                        .adapters = predictor.adapters,
                        .embedded_guidance = predictor.embedded_guidance,
                        .attention = &predictor.attention});
    return calls;
  });
}

int64_t Pipeline::tile_side(const GenerateRequest& request, const std::vector<int64_t>& shape) const {
  const LatentSpec& latent = bundle_.manifest().latent;
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

void Pipeline::decode(const GenerateRequest& request, const at::Tensor& latents,
                      GenerateResult& result) const {
  Stopwatch time(result.seconds["decode"]);
  const bool video = bundle_.manifest().latent.frame_scale.has_value();
  for (int64_t b = 0; b < latents.size(0); ++b) {
    const VaeCall call{
        .tile = result.vae_tile, .proceed = [&](int64_t done, int64_t total) {
          if (!request.observer) return true;
          request.observer->on_stage("decode", static_cast<int>(done), static_cast<int>(total));
          GLINT_CHECK(request.observer->keep_going(), Cancelled,
                      "the run was cancelled while {} {} was decoded", video ? "video" : "picture",
                      (video ? result.videos.size() : result.images.size()) + 1);
          return true;
        }};
    const at::Tensor one = latents.narrow(0, b, 1).to(at::kFloat);
    if (video) {
      Video frames;
      bundle_.video_decoder()->decode(
          one,
          [&](const at::Tensor& some) {
            auto images = to_images(some[0].transpose(0, 1));
            std::move(images.begin(), images.end(), std::back_inserter(frames.frames));
          },
          call);
      result.videos.push_back(std::move(frames));
    } else {
      result.images.push_back(std::move(to_images(bundle_.decoder()->decode(one, call)).front()));
    }
  }
}

GenerateResult Pipeline::generate(const GenerateRequest& request) const {
  return detail::engine_errors_translated(ErrorCode::Internal, "generate", [&] { return run(request); });
}

GenerateResult Pipeline::run(const GenerateRequest& request) const {
  GenerateResult result{.solver = solver_choice(request).name,
                        .rule = rule_choice(request).name,
                        .guidance = guidance_scale(request)};
  if (request.rule && request.rule->options.contains("scale") && !bundle_.manifest().guidance.embedded)
    result.guidance = detail::number_in(request.rule->options.at("scale")).value_or(result.guidance);
  result.seconds = {{"encode", 0.0}, {"noise", 0.0}, {"sample", 0.0}, {"decode", 0.0}, {"total", 0.0}};
  {
    Stopwatch total(result.seconds["total"]);
    GLINT_CHECK(request.count >= 1, InvalidArgument, "count: expected at least 1, got {}", request.count);
    GLINT_CHECK(request.batch >= 1, InvalidArgument, "batch: expected at least 1, got {}", request.batch);
    const std::vector<int64_t> shape = latent_shape(request);
    if (request.decode) result.vae_tile = tile_side(request, shape);
    const Sampler sampler = build_sampler(request);
    SampleRequest sample{.seed = request.seed,
                         .observer = request.observer,
                         .keep_trajectory = request.keep_trajectory,
                         .effective_guidance = request.effective_guidance};
    if (!request.noise.defined()) sample.latent_shape = shape;
    {
      Stopwatch encode_time(result.seconds["encode"]);
      sample.prompt = encode(request, result);
    }
    result.sample.seed = request.seed;
    const int64_t count = request.noise.defined() ? request.noise.size(0) : request.count;
    for (int64_t done = 0; done < count; done += request.batch) {
      sample.batch = std::min(request.batch, count - done);
      sample.seed = request.seed + static_cast<uint64_t>(done);
      if (request.noise.defined()) sample.noise = request.noise.narrow(0, done, sample.batch);
      SampleResult part = sampler.sample(sample);
      if (request.decode) decode(request, part.latents, result);
      append(result.sample, std::move(part));
    }
  }
  result.seconds["sample"] = result.sample.usage.seconds;
  for (const Choice& choice : request.noise_strategies) {
    const auto used = result.sample.by_stage.find(choice.name);
    if (used == result.sample.by_stage.end()) continue;
    result.seconds["noise"] += used->second.seconds;
    result.seconds["sample"] -= used->second.seconds;
  }
  return result;
}

}  // namespace glint
