// Collects training pairs for golden-noise networks: noises, and better ones found by reflection and
// confirmed by a scorer.
#pragma once

#include <glint/collect/collection.hpp>
#include <glint/export.hpp>
#include <glint/sampling/moves.hpp>

#include <optional>
#include <string>

namespace glint {

class Pipeline;

/// How to reflect a noise, and when to keep the result.
struct NoisePairOptions {
  std::optional<double> guidance_forward = {};  ///< when denoising; unset = the run's
  double guidance_inverse = 1.0;                ///< when inverting; 1 (conditional only) in NPNet's data
  int span = 1;                                 ///< initial steps denoised, then inverted, per reflection
  int repeats = 1;
  double merge = 1.0;
  InvertOptions invert = {};
  double margin = 0.0;  ///< keep a pair if reflection raises the score by more than this
  std::string scorer = "scorer";

  static void fields(auto& visit, auto& o) {
    visit(
        "guidance_forward", o.guidance_forward,
        Field{.help = "guidance scale when denoising; default: the run's", .minimum = -100, .maximum = 1000});
    visit(
        "guidance_inverse", o.guidance_inverse,
        Field{
            .help = "guidance scale when inverting; 1 = conditional only", .minimum = -100, .maximum = 1000});
    visit("span", o.span,
          Field{.help = "initial steps denoised, then inverted, per reflection",
                .minimum = 1,
                .maximum = 1000,
                .unit = "steps"});
    visit("repeats", o.repeats, Field{.help = "reflections per noise", .minimum = 1, .maximum = 1000});
    visit("merge", o.merge,
          Field{.help = "fraction of the displacement to keep", .minimum = -10, .maximum = 10});
    visit("evaluation", o.invert.evaluation, Field{.help = "where the inversion evaluates the network"});
    visit("iterations", o.invert.iterations,
          Field{.help = "iterations for evaluation=fixed-point", .minimum = 1, .maximum = 1000});
    visit("coefficients", o.invert.coefficients,
          Field{.help = "which levels the inversion takes its coefficients from"});
    visit("margin", o.margin,
          Field{.help = "keep a pair if reflection raises the score by more than this",
                .minimum = -1e6,
                .maximum = 1e6});
    visit("scorer", o.scorer, Field{.help = "the bundle's scorer component"});
  }
};

/// Reflects every item's noise over the first steps, samples both noises with CFG, and stores the pairs whose
/// reflected noise gives the image that the bundle's scorer rates higher.
/// Shapes:  a shard of n items, k of them kept, has `noise` and `reflected` [k,C,...] and `scores` [k,2]
///          float32 (noise, reflected noise); `prompt` and `seed` [k]; `tokens` [k,L,D] and `pooled` [k,P]
///          for models that have them; and `candidate_scores` [n,2] of all items.
/// Cost:    T K (G_forward + G_inverse) + 2 N G rows and 2 decodes per item.
/// Errors:  as collect_trajectories; NotFound if the bundle has no scorer or no decoder; InvalidArgument for
///          options out of range and fewer than 2 steps.
/// Random:  as collect_trajectories.
/// Source:  Zhou et al., "Golden Noise for Diffusion Models", ICCV 2025, arXiv:2411.09502. Deviation: matched
///          coefficients; the released code has coefficients=legacy-shifted.
GLINT_API CollectResult collect_noise_pairs(const Pipeline& pipeline, const CollectRequest& request,
                                            const NoisePairOptions& options);

}  // namespace glint
