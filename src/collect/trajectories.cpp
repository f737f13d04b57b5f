#include "collect/collect.hpp"
#include "network/torch_errors.hpp"

#include <glint/collect/trajectories.hpp>
#include <glint/guidance/cfg.hpp>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

namespace glint {
namespace {

/// The sampler's loop, with the branches of guidance kept apart.
class Recorder {
 public:
  Recorder(Sampler sampler, double guidance, const CollectRequest& request)
      : sampler_(std::move(sampler)), guidance_(guidance), request_(request) {
    predictors_.fill(sampler_.predictor());
    predictors_[0].rule = std::make_shared<const Cfg>(1.0);
    predictors_[1].rule = std::make_shared<const Cfg>(0.0);
    for (const Predictor& predictor : predictors_) check_predictor("trajectories: ", predictor, sampler_.schedule().steps());
  }

  TensorMap operator()(const SampleRequest& batch, Usage& usage) const {
    const at::NoGradGuard no_gradients;
    const NoiseSchedule& schedule = sampler_.schedule();
    const ModelInfo& info = sampler_.predictor().model->info();
    const at::Device device(info.device);
    const Prompt prompt{to_device(batch.prompt.cond, device), to_device(batch.prompt.uncond, device)};
    Run run(schedule, prompt, NoiseStream(batch.seed, batch.batch), batch.observer);
    at::Tensor x = run.noise().normal(batch.latent_shape).to(device);
    if (schedule.initial_scale() != 1.0) x = x.mul(schedule.initial_scale());

    std::vector<at::Tensor> latents, outputs, uncond_outputs;
    {
      const Run::Stage stage(run, "denoise", 0);
      SolverHistory history;
      for (int i = 0; i < schedule.steps(); ++i) {
        const std::vector<at::Tensor> made = run.predict(predictors_, x, schedule.level(i), i);
        latents.push_back(stored(x));
        outputs.push_back(stored(made[0]));
        uncond_outputs.push_back(stored(made[1]));
        const at::Tensor guided = at::lerp(made[1], made[0], guidance_);
        x = sampler_.solver().step({x, guided, info.parameterization, schedule, i, made[1]}, history,
                                   run.noise());
      }
    }
    usage += run.total();
    return {{"item", at::arange(batch.batch, at::kLong)},
            {"latents", at::stack(latents, 1)},
            {"output", at::stack(outputs, 1)},
            {"null_output", at::stack(uncond_outputs, 1)}};
  }

  /// The levels of the steps, [N] each.
  TensorMap levels() const {
    const NoiseSchedule& schedule = sampler_.schedule();
    std::vector<double> time, model_time, position;
    for (int i = 0; i < schedule.steps(); ++i) {
      time.push_back(schedule.level(i).sigma);
      model_time.push_back(schedule.level(i).model_time);
      position.push_back(static_cast<double>(i) / schedule.steps());
    }
    return {{"time", at::tensor(time).to(at::kFloat)},
            {"model_time", at::tensor(model_time).to(at::kFloat)},
            {"position", at::tensor(position).to(at::kFloat)}};
  }

 private:
  at::Tensor stored(const at::Tensor& values) const { return detail::stored(values, request_); }

  Sampler sampler_;
  double guidance_;
  const CollectRequest& request_;
  std::array<Predictor, 2> predictors_;
};

}  // namespace

CollectResult collect_trajectories(const Pipeline& pipeline, const CollectRequest& request) {
  return detail::engine_errors_translated(ErrorCode::Internal, "collect trajectories", [&] {
    const GenerateRequest run = detail::generate_request(request, "");
    const Recorder record(pipeline.sampler(run), pipeline.guidance_scale(run), request);
    return detail::collect(pipeline, request,
                           {.kind = "trajectories",
                            .components = {"denoiser", "text_encoder", "tokenizer"},
                            .constants = record.levels(),
                            .collect = record,
                            .stores_uncond = true});
  });
}

}  // namespace glint
