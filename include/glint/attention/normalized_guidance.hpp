// Normalized attention guidance (NAG): a negative prompt that acts inside the attention layers.
#pragma once

#include <glint/core/options.hpp>
#include <glint/core/step_window.hpp>

namespace glint {

/// In every attention layer that reads the prompt, with z+ and z- an image token's output under the prompt
/// and under the negative prompt, over all heads, and |.| the sum of absolute values:
///   g = z+ + (scale - 1) (z+ - z-);   g <- g min(1, tau |z+| / |g|);   z = z+ + alpha (g - z+)
/// The image tokens are one stream, which both prompts read; the negative prompt contributes its tokens and
/// mask alone. It needs no unconditional branch, so it gives distilled models a negative prompt.
/// Cost:    one more row per conditional branch; where the text has layers of its own (TextTokens::Cross) and
///          the network can run them alone, those layers only.
/// Source:  Chen et al., "Normalized Attention Guidance", NeurIPS 2025, arXiv:2505.21179. The first code
///          released for FLUX takes the Euclidean norm instead, and modulates the negative prompt's tokens by
///          its own pooled embedding; here all rows take the prompt's.
struct NormalizedGuidance {
  double scale = 5.0;
  double tau = 2.5;
  double alpha = 0.25;
  StepWindow window = {};

  static constexpr EntryInfo info{
      .kind = "attention-guidance",
      .name = "nag",
      .summary = "a negative prompt inside the attention layers, for distilled models too",
      .cost = "N rows more; for text in layers of its own, those layers only",
      .source = "Chen et al., NeurIPS 2025, arXiv:2505.21179"};

  static void fields(auto& visit, auto& o) {
    visit(
        "scale", o.scale,
        Field{.help = "extrapolation away from the negative prompt; 1 = off", .minimum = 1, .maximum = 1000});
    visit("tau", o.tau,
          Field{.help = "largest growth of a token's output, as a factor of its norm",
                .minimum = 0,
                .maximum = 1000});
    visit("alpha", o.alpha,
          Field{.help = "share of the extrapolated output in the result", .minimum = 0, .maximum = 1});
    StepWindow::fields(visit, o.window, "first guided step", "end of the guided steps, exclusive");
  }

  /// Returns whether a step's predictions differ from those without guidance.
  bool active(int step, int steps) const {
    return scale != 1.0 && alpha != 0.0 && window.contains(step, steps);
  }

  friend bool operator==(const NormalizedGuidance&, const NormalizedGuidance&) = default;
};

}  // namespace glint
