// The unit of work of an evaluation: one arm on one batch of pairs.
#pragma once

#include "eval/json_number.hpp"

#include <glint/eval/evaluation.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace glint::detail {

constexpr int64_t kThumbnailSide = 8;
using Thumbnail = std::array<uint8_t, 3 * kThumbnailSide * kThumbnailSide>;

/// What is kept of a picture.
struct PairResult {
  std::vector<double> scores;  ///< in the order of EvalRequest::scorers
  double signed_scale = kNotMeasured, unsigned_scale = kNotMeasured, orthogonal = kNotMeasured;
  double saturation = 0.0, contrast = 0.0;
  Thumbnail thumbnail = {};
};

/// What is kept of a batch.
struct UnitResult {
  int64_t first = 0;  ///< pair
  std::vector<PairResult> pairs = {};
  bool measured = false;  ///< whether the guidance scales were measured
  int64_t rows = 0;       ///< without those that measured the guidance scale
  double seconds = 0.0;
};

/// Settings that an arm leaves to the model.
struct ArmSettings {
  int steps = 0;
  double guidance = 0.0;
};

/// Samples arms. An interface, so that the protocol can be tested on scores that are known.
class ArmSampler {
 public:
  virtual ~ArmSampler() = default;

  /// Returns the settings.   Errors: InvalidArgument for an arm that the model cannot run.
  virtual ArmSettings settings(const Arm& arm) const = 0;

  /// Samples pairs first, first + 1, ..., `size` of them.
  virtual UnitResult sample(const Arm& arm, int64_t first, int64_t size, bool measure) = 0;

  /// Whether guidance scales can be measured: the model has an unconditional branch.
  virtual bool measures() const = 0;

  /// Returns what tells a scorer's network from others, e.g. its hash. Also for one that only chooses.
  virtual std::string scorer_identity(const std::string& scorer) const = 0;
};

}  // namespace glint::detail
