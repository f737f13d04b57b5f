// CoRe2: a small network imitates classifier-free guidance; it saves the null row, or is what guidance is steered away from.
#pragma once

#include <glint/build_context.hpp>
#include <glint/guidance/difference_rule.hpp>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace glint {

/// The weak network R: a guided prediction from the conditional one, [B,...] to [B,...].
using WeakNetwork = std::function<at::Tensor(const at::Tensor& cond_output, const GuidanceStep& step)>;

/// Returns the bundle's weak network. Its component names its inputs: output [B,...] (the conditional prediction), latents
/// [B,...] (what it was made for), time [B] (sigma), position [B] (i / N), tokens, pooled, null_tokens, null_pooled.
/// Errors:  NotFound if the bundle has no such component; BadModel for an input it cannot be given; ShapeMismatch, when it
///          runs, if what comes back is not of the latents' shape.
inline WeakNetwork weak_network(const Bundle& bundle, const std::string& component) {
  const std::shared_ptr<const Module> module = bundle.module(component);
  const std::vector<std::string> inputs = bundle.manifest().components.at(component).inputs;
  for (const std::string& name : inputs)
    GLINT_CHECK(name == "output" || name == "latents" || name == "time" || name == "position" ||
                    name == "tokens" || name == "pooled" || name == "null_tokens" || name == "null_pooled",
                BadModel, "components.{}.inputs: a weak network cannot be given '{}'", component, name);
  return [module, inputs, component](const at::Tensor& cond, const GuidanceStep& step) {
    const int64_t batch = cond.size(0);
    const auto rows = [&](const at::Tensor& t, const std::string& name) {
      GLINT_CHECK(t.defined(), InvalidArgument, "{}: takes '{}', which the prompt does not have", component,
                  name);
      std::vector<int64_t> sizes = t.sizes().vec();
      sizes.front() = batch;
      return t.to(at::kFloat).expand(sizes);
    };
    const auto argument = [&](const std::string& name) -> at::Tensor {
      if (name == "output") return cond.to(at::kFloat);
      if (name == "latents") return step.x.to(at::kFloat);
      if (name == "time") return at::full({batch}, step.level.sigma, cond.options().dtype(at::kFloat));
      if (name == "position")
        return at::full({batch}, static_cast<double>(step.position.step) / step.position.steps,
                        cond.options().dtype(at::kFloat));
      if (name == "tokens") return rows(step.prompt.cond.tokens, name);
      if (name == "pooled") return rows(step.prompt.cond.pooled, name);
      if (name == "null_tokens") return rows(step.prompt.null.tokens, name);
      return rows(step.prompt.null.pooled, name);
    };
    std::vector<at::Tensor> arguments;
    for (const std::string& name : inputs) arguments.push_back(argument(name));
    const std::vector<at::Tensor> outputs = module->run(std::move(arguments));
    GLINT_CHECK(!outputs.empty() && outputs.front().sizes() == cond.sizes(), ShapeMismatch,
                "{}: expected a prediction of shape {}, got {}", component, shape_string(cond.sizes()),
                outputs.empty() ? "nothing" : shape_string(outputs.front().sizes()));
    return outputs.front().to(cond.options());
  };
}

struct Core2Options {
  double gap_scale = 1.5;
  int slow_steps = 0;
  double scale = 5.0;
  std::string network = "core2_weak";

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale,
          Field{.help = "guidance scale of the slow steps' CFG", .minimum = -100, .maximum = 1000});
    visit("gap_scale", o.gap_scale,
          Field{.help = "g of weak + g (strong - weak) in slow steps", .minimum = -100, .maximum = 1000});
    visit("slow_steps", o.slow_steps,
          Field{.help = "first steps that also evaluate the null prompt",
                .minimum = 0,
                .maximum = 100000,
                .unit = "steps"});
    visit("network", o.network, Field{.help = "component of the bundle"});
  }
};

/// Returns the weak network's prediction R(c) in fast steps, and R(c) + g (CFG_w - R(c)) in slow ones.
/// Cost:    2 rows per sample in slow steps, 1 in fast ones, and one evaluation of R.
/// Source:  Shao et al., "CoRe^2: Collect, Reflect and Refine to Generate Better and Faster", arXiv:2503.09662.
class Core2 final : public GuidanceRule {
 public:
  using Options = Core2Options;
  static constexpr EntryInfo info{
      .kind = "rule",
      .name = "core2",
      .summary = "a small network in place of the null prompt, or as the weak side of guidance",
      .cost = "N + slow_steps rows, and N evaluations of the weak network",
      .source = "Shao et al. 2025, arXiv:2503.09662"};

  Core2(WeakNetwork network, Core2Options options)
      : network_(std::move(network)), options_(std::move(options)) {
    check_ranges(info.name, options_);
    GLINT_CHECK(network_, InvalidArgument, "core2: expected a weak network, got none");
  }

  static std::shared_ptr<const GuidanceRule> make(const Core2Options& o, const BuildContext& context) {
    return std::make_shared<const Core2>(weak_network(context.bundle_for(info.name), o.network), o);
  }

  BranchSet branches(const StepPosition& position) const override {
    return {.cond = true, .null = position.step < options_.slow_steps};
  }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep& step, GuidanceState*) const override {
    const at::Tensor weak = network_(o.cond, step);
    if (!o.null.defined()) return weak;
    return at::lerp(weak, at::lerp(o.null, o.cond, options_.scale), options_.gap_scale);
  }

 private:
  WeakNetwork network_;
  Core2Options options_;
};

/// The inverse leg of Z-CoRe2: c + g (R(c) - c), one row.
class Core2Inverse final : public GuidanceRule {
 public:
  Core2Inverse(WeakNetwork network, double gap_scale) : network_(std::move(network)), gap_scale_(gap_scale) {}

  BranchSet branches(const StepPosition&) const override { return {.cond = true}; }
  at::Tensor combine(const BranchOutputs& o, const GuidanceStep& step, GuidanceState*) const override {
    return at::lerp(o.cond, network_(o.cond, step), gap_scale_);
  }

 private:
  WeakNetwork network_;
  double gap_scale_;
};

}  // namespace glint
