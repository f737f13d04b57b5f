// Noises and better ones, found by reflection and confirmed by a scorer: what a golden-noise network learns
// from.
#pragma once

#include <glint/collect/collection.hpp>
#include <glint/export.hpp>
#include <glint/sampling/moves.hpp>

#include <optional>
#include <string>

namespace glint {

class Pipeline;

/// How a noise is reflected, and when the result is kept.
struct NoisePairOptions {
  std::optional<double> guidance_forward = {};  ///< of the denoise predictor; unset = the run's
  double guidance_inverse = 1.0;  ///< of the inversion predictor; NPNet's data has 1, the prompt alone
  int span = 1;                   ///< first steps forward and back in one reflection
  int repeats = 1;
  double merge = 1.0;
  InvertOptions invert = {};
  double margin = 0.0;  ///< the reflected noise's score has to be above the noise's by more than this
  std::string scorer = "scorer";

  static void fields(auto& visit, auto& o) {
    visit("guidance_forward", o.guidance_forward,
          Field{.help = "guidance scale of the denoise predictor; unset = the run's",
                .minimum = -100,
                .maximum = 1000});
    visit("guidance_inverse", o.guidance_inverse,
          Field{.help = "guidance scale of the inversion predictor", .minimum = -100, .maximum = 1000});
    visit("span", o.span,
          Field{.help = "first steps forward and back in one reflection",
                .minimum = 1,
                .maximum = 1000,
                .unit = "steps"});
    visit("repeats", o.repeats, Field{.help = "reflections of a noise", .minimum = 1, .maximum = 1000});
    visit("merge", o.merge,
          Field{.help = "share of the displacement that is kept", .minimum = -10, .maximum = 10});
    visit("evaluation", o.invert.evaluation, Field{.help = "where the inversion evaluates the network"});
    visit("iterations", o.invert.iterations,
          Field{.help = "iterations of evaluation fixed-point", .minimum = 1, .maximum = 1000});
    visit("coefficients", o.invert.coefficients,
          Field{.help = "levels the inversion's coefficients come from"});
    visit(
        "margin", o.margin,
        Field{
            .help = "a pair is kept if the score rises by more than this", .minimum = -1e6, .maximum = 1e6});
    visit("scorer", o.scorer, Field{.help = "component of the bundle"});
  }
};

/// Reflects every item's noise at the first steps, samples both noises with CFG, and stores the pairs whose
/// reflected noise makes the picture that the bundle's scorer likes better.
/// Shapes:  a shard of n items of which k are kept has `noise` and `reflected` [k,C,...] and `scores` [k,2]
///          float32 (of the noise, of the reflected one); `prompt` and `seed` [k]; `tokens` [k,L,D] and
///          `pooled` [k,P] of the models that have them; and `candidate_scores` [n,2] of all items.
/// Cost:    T K (G_forward + G_inverse) + 2 N G rows and 2 decodes per item.
/// Errors:  as collect_trajectories; NotFound if the bundle has no scorer or no decoder; InvalidArgument for
///          options out of range and fewer than 2 steps.
/// Random:  as collect_trajectories.
/// Source:  Zhou et al., "Golden Noise for Diffusion Models", ICCV 2025, arXiv:2411.09502. Deviation: matched
///          coefficients; coefficients=legacy-shifted is the released code's.
GLINT_API CollectResult collect_noise_pairs(const Pipeline& pipeline, const CollectRequest& request,
                                            const NoisePairOptions& options);

}  // namespace glint
