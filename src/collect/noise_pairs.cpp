#include "collect/collect.hpp"
#include "network/host_state.hpp"

#include <glint/catalog/components.hpp>
#include <glint/collect/noise_pairs.hpp>
#include <glint/step/reflect.hpp>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>

namespace glint {
namespace {

constexpr const char* kName = "noise-pairs";

/// Reflects noises and scores the images before and after.
class Pairing {
 public:
  Pairing(const Pipeline& pipeline, const Plan& plan, const NoisePairOptions& options)
      : sampler_(plan.sampler),
        scorer_(latent_scorer(pipeline.bundle(), options.scorer)),
        reflect_(kName,
                 options.guidance_forward ? with_guidance(*options.guidance_forward) : same_predictor(),
                 with_guidance(options.guidance_inverse),
                 {.span = options.span,
                  .merge = options.merge,
                  .repeats = options.repeats,
                  .invert = options.invert}),
        margin_(options.margin) {
    GLINT_CHECK(sampler_.schedule().steps() >= 2, InvalidArgument,
                "steps: expected at least 2, since the last one cannot be inverted, got {}",
                sampler_.schedule().steps());
    reflect_.validate(sampler_.schedule(), sampler_.predictor());
  }

  TensorMap operator()(const SampleRequest& batch, Usage& usage) const {
    const at::NoGradGuard no_gradients;
    const at::Tensor noise = NoiseStream(batch.seed, batch.batch).normal(batch.latent_shape);
    const at::Tensor reflected = reflect(noise, batch, usage);
    const at::Tensor before = score(noise, batch, usage), after = score(reflected, batch, usage);
    const at::Tensor item = after.sub(before).gt(margin_).nonzero().flatten();
    const at::Tensor scores = at::stack({before, after}, 1).to(at::kFloat);
    return {{"item", item},
            {"noise", noise.index_select(0, item)},
            {"reflected", reflected.index_select(0, item)},
            {"scores", scores.index_select(0, item)},
            {"candidate_scores", scores}};
  }

 private:
  at::Tensor reflect(const at::Tensor& noise, const SampleRequest& batch, Usage& usage) const {
    const at::Device device(sampler_.predictor().model->info().device);
    const Prompt prompt{to_device(batch.prompt.cond, device), to_device(batch.prompt.uncond, device)};
    const double scale = sampler_.schedule().initial_scale();
    Run run(sampler_.schedule(), prompt, NoiseStream(batch.seed, batch.batch), batch.observer);
    at::Tensor reflected;
    {
      const Run::Stage stage(run, kName, 0);
      reflected = reflect_.refine(noise.to(device).mul(scale), {run, sampler_.predictor(), 0})
                      .div(scale)
                      .to(at::kCPU);
    }
    usage += run.total();
    return reflected;
  }

  /// Returns the scores [B], on the CPU, of the images sampled from `noise`.
  at::Tensor score(const at::Tensor& noise, SampleRequest batch, Usage& usage) const {
    batch.noise = noise;
    const SampleResult sample = sampler_.sample(batch);
    usage += sample.usage;
    return scorer_(sample.latents, batch.prompt).to(at::kCPU);
  }

  Sampler sampler_;
  LatentScorer scorer_;
  Reflect reflect_;
  double margin_;
};

/// Converts options to JSON by visiting their fields, so that the collection's identity misses none.
class JsonOf {
 public:
  explicit JsonOf(const NoisePairOptions& options) { NoisePairOptions::fields(*this, options); }

  template <typename T>
  void operator()(std::string_view name, const T& value, const Field&) {
    nlohmann::ordered_json& place = json[std::string(name)];
    if constexpr (NamedEnum<T>) {
      place = enum_name(value);
    } else if constexpr (std::is_same_v<T, std::optional<double>>) {
      if (value) place = *value;
    } else {
      place = value;
    }
  }

  nlohmann::ordered_json json = nlohmann::ordered_json::object();
};

}  // namespace

CollectResult collect_noise_pairs(const Pipeline& pipeline, const CollectRequest& request,
                                  const NoisePairOptions& options) {
  return detail::torch_boundary(ErrorCode::Internal, "collect noise-pairs", [&] {
    check_ranges(kName, options);
    for (const std::string& name : {options.scorer, std::string("vae_decoder")})
      GLINT_CHECK(pipeline.bundle().has(name), NotFound,
                  "{}: model '{}' has no component '{}', so nothing tells which noise is better", kName,
                  pipeline.bundle().manifest().name, name);
    const Plan plan = detail::plan_of(pipeline, request);
    return detail::collect(
        pipeline, request, plan,
        {.kind = kName,
         .options = JsonOf(options).json,
         .components = {"denoiser", "text_encoder", "tokenizer", "vae_decoder", options.scorer},
         .collect = Pairing(pipeline, plan, options)});
  });
}

}  // namespace glint
