// Inversion stability: how well an initial noise survives denoising and inversion.
#pragma once

#include <glint/guidance/per_sample.hpp>
#include <glint/sampling/moves.hpp>
#include <glint/sampling/noise_strategy.hpp>
#include <glint/sampling/predictor_changes.hpp>

#include <vector>

namespace glint {

/// The round trip F that defines stability. Its step count is part of the definition, since F tends to the
/// identity as steps grow.
struct RoundTripOptions {
  int steps = 10;
  std::optional<double> guidance = std::nullopt;
  InvertOptions invert = {};

  static void fields(auto& visit, auto& o) {
    visit("steps", o.steps,
          Field{.help = "steps to denoise in the round trip, and again to invert; at most the run's",
                .minimum = 1,
                .maximum = 100000});
    visit("guidance", o.guidance,
          Field{.help = "guidance scale in both directions; default: the run's",
                .minimum = -100,
                .maximum = 1000});
    visit("evaluation", o.invert.evaluation, Field{.help = "where the inversion evaluates the network"});
    visit("inversion_iterations", o.invert.iterations,
          Field{.help = "iterations for evaluation=fixed-point", .minimum = 1, .maximum = 1000});
  }
};

/// Denoises noise to data and inverts it back, along evenly spaced levels of the run's grid.
class RoundTrip {
 public:
  RoundTrip(const RoundTripOptions& options, const NoiseSchedule& schedule, const Predictor& predictor)
      : predictor_(options.guidance ? with_guidance(*options.guidance)(predictor) : predictor),
        invert_(options.invert) {
    const int n = schedule.steps(), t = (std::min)(options.steps, n);
    for (int j = 0; j <= t; ++j) positions_.push_back(static_cast<int>(std::lround(double(j) * n / t)));
  }

  /// Number of first-order maps that make up F: 2 steps.
  int size() const { return 2 * static_cast<int>(positions_.size() - 1); }

  /// Applies the k-th map of F to x. FixedPoint starts at x itself.
  /// Cost: one prediction, or `iterations` with FixedPoint.
  at::Tensor map(Run& run, const at::Tensor& x, int k, const Predictor& predictor) const {
    const int t = size() / 2;
    if (k < t)
      return denoise(run, predictor, x, positions_[static_cast<size_t>(k)],
                     positions_[static_cast<size_t>(k) + 1]);
    const size_t from = static_cast<size_t>(2 * t - k);
    return invert(run, predictor, x, positions_[from], positions_[from - 1], invert_);
  }

  /// Returns F(x).   Cost: size() predictions.
  at::Tensor operator()(Run& run, const at::Tensor& x, const Predictor& predictor) const {
    at::Tensor y = x;
    for (int k = 0; k < size(); ++k) y = map(run, y, k, predictor);
    return y;
  }

  const Predictor& predictor() const { return predictor_; }

 private:
  Predictor predictor_;
  InvertOptions invert_;
  std::vector<int> positions_;
};

/// Returns cos(x, y) per sample: [B], float64. Independent of both lengths.
inline at::Tensor cosine(const at::Tensor& x, const at::Tensor& y) {
  return per_sample::ratio(per_sample::dot(x, y), per_sample::norm(x).mul(per_sample::norm(y)), 0.0);
}

/// Returns the predictor for a batch of `copies` consecutive copies of the run's samples.
inline Predictor repeated(const Predictor& predictor, int64_t copies) {
  if (copies == 1) return predictor;
  const auto repeat = [copies](Conditioning c) {
    const auto tile = [copies](at::Tensor& t) {
      if (!t.defined() || t.size(0) == 1) return;
      std::vector<int64_t> times(static_cast<size_t>(t.dim()), 1);
      times.front() = copies;
      t = t.repeat(times);
    };
    tile(c.tokens);
    tile(c.pooled);
    tile(c.mask);
    for (auto& [name, tensor] : c.extras) tile(tensor);
    return c;
  };
  return with_condition([repeat](const Prompt& p) {
    return Prompt{repeat(p.cond), repeat(p.uncond)};
  })(predictor);
}

/// Returns candidate k of every sample: 0 is x, the others are independent draws that depend neither on the
/// number of candidates nor on the batch.
inline at::Tensor candidate(Run& run, const at::Tensor& x, std::string_view owner, int k) {
  if (k == 0) return x;
  const at::Tensor noise = run.noise().fork(message("{} {}", owner, k)).normal_like(x);
  const double scale = run.schedule().initial_scale();
  return scale == 1.0 ? noise : noise.mul(scale);
}

/// Keeps each sample's highest-scoring candidate.
struct Best {
  at::Tensor x, score;

  void offer(const at::Tensor& candidate, const at::Tensor& scores) {
    if (!x.defined()) {
      x = candidate;
      score = scores;
      return;
    }
    const at::Tensor better = scores.gt(score);
    x = candidate.where(better.view(per_sample::broadcast(scores, x).sizes()), x);
    score = scores.where(better, score);
  }
};

}  // namespace glint
