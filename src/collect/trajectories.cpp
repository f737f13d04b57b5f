#include "collect/collect.hpp"
#include "network/host_state.hpp"

#include <glint/collect/trajectories.hpp>
#include <glint/guidance/cfg.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

namespace glint {
namespace {

/// Records the network's outputs at every step of a run.
class BranchRecord final : public Observer {
 public:
  BranchRecord(const CollectRequest& request, Observer* outer) : request_(request), outer_(outer) {}

  bool keep_going() override { return !outer_ || outer_->keep_going(); }
  void on_stage(std::string_view name, int step, int steps) override {
    if (outer_) outer_->on_stage(name, step, steps);
  }
  bool on_step(const StepEvent& event) override {
    latents_.push_back(detail::stored(event.x_from, request_));
    outputs_.push_back(detail::stored(event.branches.cond, request_));
    uncond_outputs_.push_back(detail::stored(event.branches.uncond, request_));
    return !outer_ || outer_->on_step(event);
  }

  /// Returns the recorded outputs, [B,N,C,...] each.
  TensorMap tensors() const {
    return {{"latents", at::stack(latents_, 1)},
            {"output", at::stack(outputs_, 1)},
            {"null_output", at::stack(uncond_outputs_, 1)}};
  }

 private:
  const CollectRequest& request_;
  Observer* outer_;
  std::vector<at::Tensor> latents_, outputs_, uncond_outputs_;
};

/// Samples batches of items with CFG, evaluating both branches whatever the scale.
class Recorder {
 public:
  Recorder(const Plan& plan, const CollectRequest& request)
      : sampler_(with_both_branches(plan)), request_(request) {}

  TensorMap operator()(SampleRequest batch, Usage& usage) const {
    BranchRecord record(request_, batch.observer);
    batch.observer = &record;
    usage += sampler_.sample(batch).usage;
    TensorMap tensors = record.tensors();
    tensors["item"] = at::arange(batch.batch, at::kLong);
    return tensors;
  }

  /// Returns the steps' levels, [N] each.
  TensorMap levels() const {
    const NoiseSchedule& schedule = sampler_.schedule();
    std::vector<double> sigma, model_time, position;
    for (int i = 0; i < schedule.steps(); ++i) {
      sigma.push_back(schedule.level(i).sigma);
      model_time.push_back(schedule.level(i).model_time);
      position.push_back(static_cast<double>(i) / schedule.steps());
    }
    return {{"sigma", at::tensor(sigma).to(at::kFloat)},
            {"model_time", at::tensor(model_time).to(at::kFloat)},
            {"position", at::tensor(position).to(at::kFloat)}};
  }

 private:
  static Sampler with_both_branches(const Plan& plan) {
    SamplerParts parts = plan.sampler.parts();
    parts.predictor.rule =
        std::make_shared<const Cfg>(CfgOptions{.scale = plan.guidance, .branches = Branches::LegacyBoth});
    return Sampler(std::move(parts));
  }

  Sampler sampler_;
  const CollectRequest& request_;
};

}  // namespace

CollectResult collect_trajectories(const Pipeline& pipeline, const CollectRequest& request) {
  return detail::torch_boundary(ErrorCode::Internal, "collect trajectories", [&] {
    const Plan plan = detail::plan_of(pipeline, request);
    const Recorder record(plan, request);
    return detail::collect(pipeline, request, plan,
                           {.kind = "trajectories",
                            .components = {"denoiser", "text_encoder", "tokenizer"},
                            .constants = record.levels(),
                            .collect = record,
                            .stores_uncond = true});
  });
}

}  // namespace glint
