// W2SD's options: its predictors' models, adapters and prompts by name.
#pragma once

#include <glint/catalog/build_context.hpp>
#include <glint/step/w2sd.hpp>

namespace glint::detail {

struct W2sdOptions {
  static constexpr EntryInfo info{
      .kind = "step",
      .name = "w2sd",
      .summary =
          "denoise with a strong predictor, invert with a weak one: models, adapters, prompts or guidance",
      .cost = "N G + T S (G_strong + G_weak) rows, S = sum of min(span, N-1-i) over active steps i",
      .source = "Bai et al. 2025, arXiv:2502.00473, Alg. 1"};

  std::string strong_model = "";  ///< denoiser component; empty = the run's
  std::string weak_model = "";
  std::optional<std::string> strong_prompt = std::nullopt;  ///< unset = the run's own
  std::optional<std::string> weak_prompt = std::nullopt;
  std::string adapter = "";        ///< the adapter that strong_adapter and weak_adapter scale
  std::string other_adapter = "";  ///< the adapter that weak_adapter scales, if another
  std::optional<double> strong_adapter = std::nullopt;   ///< the released demo: 1.5
  std::optional<double> weak_adapter = std::nullopt;     ///< the released demo: -1.5
  std::optional<double> strong_guidance = std::nullopt;  ///< unset = the run's own rule
  std::optional<double> weak_guidance = 1.0;             ///< the released demo: 1; unset = the run's own rule
  Branches branches = Branches::Needed;
  ReflectOptions reflect = {};

  static void fields(auto& visit, auto& o) {
    visit("strong_model", o.strong_model,
          Field{.help = "denoiser component of the strong predictor; default: the run's"});
    visit("weak_model", o.weak_model,
          Field{.help = "denoiser component of the weak predictor, e.g. weak_denoiser; default: the run's"});
    visit("strong_prompt", o.strong_prompt,
          Field{.help = "prompt of the strong predictor, e.g. a more detailed one; default: the run's"});
    visit("weak_prompt", o.weak_prompt, Field{.help = "prompt of the weak predictor; default: the run's"});
    visit("adapter", o.adapter, Field{.help = "adapter that strong_adapter and weak_adapter scale"});
    visit(
        "other_adapter", o.other_adapter,
        Field{.help =
                  "adapter that weak_adapter scales instead, for a pair with a strong and a weak direction"});
    visit("strong_adapter", o.strong_adapter,
          Field{.help = "adapter scale of the strong predictor; default: the run's",
                .minimum = -100,
                .maximum = 100});
    visit("weak_adapter", o.weak_adapter,
          Field{.help = "adapter scale of the weak predictor, may be negative; default: the run's",
                .minimum = -100,
                .maximum = 100});
    visit("strong_guidance", o.strong_guidance,
          Field{.help = "guidance scale of the strong predictor; default: the run's",
                .minimum = -100,
                .maximum = 1000});
    visit("weak_guidance", o.weak_guidance,
          Field{.help = "guidance scale of the weak predictor; unset = the run's",
                .minimum = -100,
                .maximum = 1000});
    visit("branches", o.branches, kBranchesField);
    ReflectOptions::fields(visit, o.reflect);
  }
};

/// Both predictors, with their components and prompts resolved.
struct W2sdSides {
  W2sdSide strong, weak;
};

/// Errors:  NotFound for a component the bundle lacks; InvalidArgument if there is no bundle.
W2sdSides sides_of(const W2sdOptions& options, const BuildContext& context);

}  // namespace glint::detail
