#include "network/host_state.hpp"

#include <glint/pipeline/pipeline.hpp>
#include <glint/vae/image_decoder.hpp>
#include <glint/vae/video_decoder.hpp>

#include <ATen/ops/tensor.h>

#include <chrono>
#include <optional>

namespace glint {
namespace {

/// Adds its own lifetime to a total, in seconds.
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

/// Returns c with ordinary tensors in place of those made in inference mode.
Conditioning ordinary(Conditioning c) {
  for (at::Tensor* tensor : {&c.tokens, &c.pooled, &c.mask}) *tensor = detail::ordinary_tensor(*tensor);
  for (auto& [name, tensor] : c.extras) tensor = detail::ordinary_tensor(tensor);
  return c;
}

/// Returns zero embeddings in place of a prompt's, for a picture of the negative prompt's size and origin.
Conditioning null_of(const Conditioning& cond, std::string_view family, const PictureSize& size,
                     const PromptCall& call) {
  Conditioning zeros = zeroed(cond);
  zeros.extras.erase("time_ids");
  return with_size(std::move(zeros), family, size, call.origin);
}

/// Lets go of a bundle's weights between the stages of a run and, however it ends, after the last.
class StageEnds {
 public:
  StageEnds(const Bundle& bundle, bool frees) : bundle_(bundle), frees_(frees) {}
  ~StageEnds() { (*this)(); }
  StageEnds(const StageEnds&) = delete;
  StageEnds& operator=(const StageEnds&) = delete;

  void operator()() const {
    if (frees_) bundle_.free_params();
  }

 private:
  const Bundle& bundle_;
  bool frees_;
};

/// Returns the request for samples first, first + 1, ..., counted prompt by prompt.
SampleRequest batch_of(const Plan& plan, const GenerateRequest& request, const std::vector<Prompt>& prompts,
                       int64_t first, int64_t size) {
  SampleRequest sample{.observer = request.observer,
                       .keep_trajectory = request.keep_trajectory,
                       .effective_guidance = request.effective_guidance};
  std::vector<Conditioning> cond, uncond;
  std::vector<int64_t> rows;
  for (int64_t i = first; i < first + size; ++i) {
    const Prompt& prompt = prompts[static_cast<size_t>(i / plan.per_prompt)];
    cond.push_back(prompt.cond);
    uncond.push_back(prompt.uncond);
    rows.push_back(i % plan.per_prompt);
    sample.seeds.push_back(request.seed + static_cast<uint64_t>(rows.back()));
  }
  sample.prompt = Prompt{.cond = joined_if_different(cond), .uncond = joined_if_different(uncond)};
  if (request.noise.defined())
    sample.noise = request.noise.index_select(0, at::tensor(rows).to(request.noise.device()));
  else
    sample.latent_shape = plan.latent_shape;
  return sample;
}

}  // namespace

Pipeline::Pipeline(Bundle bundle, Registry registry)
    : bundle_(std::move(bundle)), registry_(std::move(registry)) {}

Prompt Pipeline::encode(const Plan& plan, const GenerateRequest& request, const std::string& prompt,
                        TokenizedPrompt* words) const {
  return detail::torch_boundary(ErrorCode::Internal, "encode", [&]() -> Prompt {
    const Manifest& manifest = bundle_.manifest();
    if (request.conditioning)
      return {.cond = with_size(ordinary(request.conditioning->cond), manifest.family, plan.size,
                                positive_call(request.text).origin),
              .uncond = with_size(ordinary(request.conditioning->uncond), manifest.family, plan.size,
                                  negative_call(request.text).origin)};
    const auto encoder = bundle_.prompt_encoder(request.adapters);
    EncodedPrompt cond = encoder->encode(prompt, plan.size, positive_call(request.text));
    if (words) *words = std::move(cond.tokenized);
    const PromptCall negative = negative_call(request.text);
    const bool zeros = manifest.guidance.zero_uncond && !request.negative;
    Conditioning uncond =
        zeros ? null_of(cond.conditioning, manifest.family, plan.size, negative)
              : encoder->encode(request.negative.value_or(""), plan.size, negative).conditioning;
    return {.cond = std::move(cond.conditioning), .uncond = std::move(uncond)};
  });
}

std::vector<Prompt> Pipeline::encode_all(const Plan& plan, const GenerateRequest& request,
                                         std::vector<TokenizedPrompt>& words) const {
  if (request.conditioning) return {encode(plan, request, "")};
  std::vector<Prompt> prompts{encode(plan, request, request.prompts.front(), &words.emplace_back())};
  const auto encoder = bundle_.prompt_encoder(request.adapters);
  for (size_t i = 1; i < request.prompts.size(); ++i) {
    EncodedPrompt cond = encoder->encode(request.prompts[i], plan.size, positive_call(request.text));
    words.push_back(std::move(cond.tokenized));
    const Manifest& manifest = bundle_.manifest();
    const bool zeros = manifest.guidance.zero_uncond && !request.negative;
    Conditioning uncond =
        zeros ? null_of(cond.conditioning, manifest.family, plan.size, negative_call(request.text))
              : prompts.front().uncond;
    prompts.push_back({.cond = std::move(cond.conditioning), .uncond = std::move(uncond)});
  }
  return prompts;
}

void Pipeline::preload(const GenerateRequest& request) const {
  detail::torch_boundary(ErrorCode::Internal, "preload", [&] {
    resolve(request);
    if (request.free_params_immediately) return;
    if (!request.conditioning) bundle_.prompt_encoder(request.adapters);
    if (!request.decode) return;
    if (bundle_.manifest().latent.frame_scale)
      bundle_.video_decoder();
    else
      bundle_.decoder();
  });
}

std::vector<AttentionCall> Pipeline::attention_calls(const GenerateRequest& request) const {
  return detail::torch_boundary(ErrorCode::Internal, "attention_calls", [&] {
    const Plan plan = resolve(request);
    const Predictor& predictor = plan.sampler.predictor();
    const Prompt prompt = encode(plan, request, request.conditioning ? "" : request.prompts.front());
    std::vector<int64_t> shape = plan.latent_shape;
    shape.insert(shape.begin(), 1);
    const at::Device device(predictor.model->info().device);
    const at::Tensor x = at::zeros(shape, at::TensorOptions().device(device));
    std::vector<AttentionCall> calls;
    const AttentionScope scope(predictor.attention, &calls);
    const Conditioning* branch = &prompt.cond;
    predictor.model->predict({.x = x,
                              .level = plan.sampler.schedule().level(0),
                              .branches = {&branch, 1},
                              .adapters = predictor.adapters,
                              .embedded_guidance = predictor.embedded_guidance,
                              .attention = &predictor.attention});
    return calls;
  });
}

void Pipeline::decode(const GenerateRequest& request, const at::Tensor& latents,
                      GenerateResult& result) const {
  const bool video = bundle_.manifest().latent.frame_scale.has_value();
  for (int64_t b = 0; b < latents.size(0); ++b) {
    std::optional<Stopwatch> time(result.seconds["decode"]);
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
    time.reset();  // what the host does with the picture is not decoding
    if (request.on_decoded) request.on_decoded(result);
  }
}

GenerateResult Pipeline::generate(const GenerateRequest& request) const {
  return detail::torch_boundary(ErrorCode::Internal, "generate", [&] { return run(request); });
}

GenerateResult Pipeline::run(const GenerateRequest& request) const {
  GenerateResult result;
  result.seconds = {{"encode", 0.0}, {"noise", 0.0}, {"sample", 0.0}, {"decode", 0.0}, {"total", 0.0}};
  Stopwatch total(result.seconds["total"]);
  const StageEnds stage_ends(bundle_, request.free_params_immediately);
  const Plan plan = resolve(request);
  result.solver = plan.solver;
  result.rule = plan.rule;
  result.guidance = plan.guidance;
  result.vae_tile = plan.vae_tile;
  result.negative_without_effect = request.negative && !request.negative->empty() && !plan.reads_negative;
  std::vector<Prompt> prompts;
  {
    Stopwatch encode_time(result.seconds["encode"]);
    prompts = encode_all(plan, request, result.prompts);
  }
  stage_ends();
  result.sample.seed = request.seed;
  for (int64_t first = request.first; first < plan.end;) {
    const int64_t size = std::min(request.batch, plan.end - first);
    at::Tensor latents;
    {
      const auto held = bundle_.network("denoiser")->hold();  // a preview must not take its place
      SampleResult part = plan.sampler.sample(batch_of(plan, request, prompts, first, size));
      latents = part.latents;
      result.sample.append(std::move(part));
    }
    if (request.decode && !request.free_params_immediately) decode(request, latents, result);
    first += size;
  }
  stage_ends();
  if (request.decode && request.free_params_immediately) decode(request, result.sample.latents, result);
  result.seconds["sample"] = result.sample.usage.seconds;
  for (const auto& strategy : plan.sampler.parts().noise_strategies) {
    const auto used = result.sample.by_stage.find(std::string(strategy->name()));
    if (used == result.sample.by_stage.end()) continue;
    result.seconds["noise"] += used->second.seconds;
    result.seconds["sample"] -= used->second.seconds;
  }
  return result;
}

}  // namespace glint
