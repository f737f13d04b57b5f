// The running softmax of the two rows (g and g + 8) whose scores a lane of a 16-row warp tile holds.
#pragma once

#include "ops/cuda/primitives.cuh"

namespace glint::ops::cuda {

/// Maximum of the raw scores, sum of the exact keys' weights, mass of the means' weights.
///
/// All three, and the values, follow one maximum: a later raise scales down the mass of earlier means too.
struct Softmax {
  float max[2] = {-1e30f, -1e30f};
  float sum[2] = {}, mass[2] = {};

  /// Turns kGroups groups of 8 scores into weights, adds them to sum or mass, and scales `out` and what was
  /// summed before.   Weights are 2^(rate (score - maximum)).
  template <int kGroups, int kOut>
  GLINT_DEVICE void take_in(float (&scores)[kGroups][4], float (&out)[kOut][4], float rate, bool exact) {
    GLINT_UNROLL
    for (int half = 0; half < 2; ++half) {
      float top = max[half];
      GLINT_UNROLL
      for (int i = 0; i < kGroups; ++i) top = fmaxf(top, fmaxf(scores[i][2 * half], scores[i][2 * half + 1]));
      top = fmaxf(top, shuffle_xor(top, 1));
      top = fmaxf(top, shuffle_xor(top, 2));
      const float factor = power_of_two(rate * (max[half] - top)), base = rate * top;
      max[half] = top;
      float added = 0.0f;
      GLINT_UNROLL
      for (int i = 0; i < kGroups; ++i) GLINT_UNROLL
      for (int c = 2 * half; c < 2 * half + 2; ++c) {
        scores[i][c] = power_of_two(rate * scores[i][c] - base);
        added += scores[i][c];
      }
      sum[half] = sum[half] * factor + (exact ? added : 0.0f);
      mass[half] = mass[half] * factor + (exact ? 0.0f : added);
      GLINT_UNROLL
      for (int i = 0; i < kOut; ++i) {
        out[i][2 * half] *= factor;
        out[i][2 * half + 1] *= factor;
      }
    }
  }

  /// Adds up what the four lanes of a row hold.
  GLINT_DEVICE void finish() {
    GLINT_UNROLL
    for (int half = 0; half < 2; ++half) {
      sum[half] += shuffle_xor(sum[half], 1);
      sum[half] += shuffle_xor(sum[half], 2);
      mass[half] += shuffle_xor(mass[half], 1);
      mass[half] += shuffle_xor(mass[half], 2);
    }
  }
};

}  // namespace glint::ops::cuda
