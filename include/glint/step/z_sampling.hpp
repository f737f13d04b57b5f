// Z-Sampling: reflects between a strong and a weak guidance scale of the same model.
#pragma once

#include <glint/guidance/cfg.hpp>
#include <glint/step/reflect.hpp>

#include <optional>

namespace glint {

struct ZSamplingOptions {
  static constexpr EntryInfo info{
      .kind = "step",
      .name = "z-sampling",
      .summary = "denoise with strong guidance, invert with weak, then take the step",
      .cost = "N G + T S (G(forward) + G(inverse)) rows, S = sum of min(span, N-1-i) over active steps i",
      .source = "Bai et al. 2025, ICLR, arXiv:2412.10891, Alg. 1"};

  std::optional<double> guidance_forward = std::nullopt;  ///< unset = the run's own rule
  double guidance_inverse = 0.0;                          ///< the paper's SDXL setting
  Branches branches = Branches::Needed;
  ReflectOptions reflect = {};

  static void fields(auto& visit, auto& o) {
    visit(
        "guidance_forward", o.guidance_forward,
        Field{.help = "guidance scale when denoising; default: the run's", .minimum = -100, .maximum = 1000});
    visit("guidance_inverse", o.guidance_inverse,
          Field{.help = "guidance scale when inverting; 0 = unconditional only",
                .minimum = -100,
                .maximum = 1000});
    visit("branches", o.branches, kBranchesField);
    ReflectOptions::fields(visit, o.reflect);
  }
};

/// Returns Z-Sampling: a reflection whose predictors differ only in guidance scale. To first order a run with
/// CFG g1 behaves like CFG at g1 + T m (g1 - g2), the baseline to compare it with. On guidance-distilled
/// models the predictors set the scale input instead.
/// Cost:    T min(K, N-1-i) (G(g1) + G(g2)) extra rows at active step i, G(0) = G(1) = 1, else 2
///          (branches=legacy-both: always 2).
/// Source:  Bai et al., "Zigzag Diffusion Sampling: Diffusion Models Can Self-Improve via Self-Reflection",
///          ICLR 2025, arXiv:2412.10891, Alg. 1. Deviations: matched coefficients, no unneeded branches;
///          legacy=true is the released SDXL code: coefficients=legacy-shifted, branches=legacy-both.
inline StepMethod z_sampling(const ZSamplingOptions& o = {}) {
  constexpr std::string_view kName = ZSamplingOptions::info.name;
  check_ranges(kName, o);
  const Branches branches = o.reflect.legacy ? Branches::LegacyBoth : o.branches;
  return reflection(std::string(kName),
                    o.guidance_forward ? with_guidance(*o.guidance_forward, branches) : same_predictor(),
                    with_guidance(o.guidance_inverse, branches), with_legacy_inversion(kName, o.reflect));
}

}  // namespace glint
