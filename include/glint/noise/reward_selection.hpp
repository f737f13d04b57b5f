// Reward selection: picks the initial noise whose image a scorer rates best.
#pragma once

#include <glint/noise/stability.hpp>

#include <functional>
#include <utility>

namespace glint {

/// Scores clean latents [B,C,...] under the run's prompt: [B], higher is better.
using LatentScorer = std::function<at::Tensor(const at::Tensor& latents, const Prompt& prompt)>;

struct RewardSelectionOptions {
  int candidates = 4;
  double prune_at = 0.5;
  double keep = 0.5;

  static void fields(auto& visit, auto& o) {
    visit("candidates", o.candidates,
          Field{.help = "number of noises to choose from, including the run's own; 1 = off",
                .minimum = 1,
                .maximum = 100000});
    visit("prune_at", o.prune_at,
          Field{.help = "when to drop the worst candidates; 0 or 1 = never",
                .minimum = 0,
                .maximum = 1,
                .unit = "fraction of steps"});
    visit("keep", o.keep,
          Field{.help = "fraction of candidates kept then, at least one", .minimum = 0, .maximum = 1});
  }
};

/// Returns, for each sample, the one of K noises whose first-order run scores best. After `prune_at` of the
/// steps, previews are scored and only the best candidates continue. Reports score_before (the run's own
/// noise, or its preview if dropped) and score_after.
/// Cost:    about G (K p N + ceil(keep K) (1-p) N) rows and K + ceil(keep K) decodes, before the run.
/// Source:  best-of-n by a reward; Ma et al., "Inference-Time Scaling for Diffusion Models beyond Scaling
///          Denoising Steps", CVPR 2025, arXiv:2501.09732, random search with a verifier.
class RewardSelection final : public NoiseStrategy {
 public:
  using Options = RewardSelectionOptions;
  static constexpr EntryInfo info{.kind = "noise",
                                  .name = "reward-selection",
                                  .summary = "picks the initial noise whose image a scorer rates best",
                                  .cost =
                                      "G (candidates (P+1) + kept (N - P)) rows with P = floor(prune_at N) "
                                      "(candidates N for P = 0 or N), plus the run's",
                                  .source = "Ma et al. 2025, CVPR, arXiv:2501.09732"};

  explicit RewardSelection(LatentScorer scorer, RewardSelectionOptions options = {})
      : scorer_(std::move(scorer)), options_(options) {
    check_ranges(info.name, options_);
    GLINT_CHECK(scorer_, InvalidArgument, "reward-selection: expected a scorer, got none");
  }

  std::string_view name() const override { return info.name; }

  at::Tensor refine(const at::Tensor& x, const NoiseContext& c) const override {
    const int k = options_.candidates, n = c.run.schedule().steps();
    if (k == 1) return x;
    const int prune = static_cast<int>(options_.prune_at * n + 1e-9);
    const int kept =
        prune > 0 && prune < n ? (std::max)(1, static_cast<int>(std::ceil(options_.keep * k - 1e-9))) : k;

    std::vector<at::Tensor> noises, states, scores;
    for (int i = 0; i < k; ++i) {
      noises.push_back(candidate(c.run, x, info.name, i));
      if (kept == k) continue;
      const std::unique_ptr<GuidanceState> memory = c.predictor.rule->begin();
      states.push_back(advance(c, noises.back(), 0, prune, memory.get()));
      scores.push_back(scorer_(preview(c, states.back(), prune, memory.get()), c.run.prompt()));
    }
    Best best;
    at::Tensor before;
    if (kept == k) {
      for (int i = 0; i < k; ++i) {
        const at::Tensor& noise = noises[static_cast<size_t>(i)];
        const at::Tensor score = scorer_(finished(c, noise, 0), c.run.prompt());
        if (i == 0) before = score;
        best.offer(noise, score);
      }
    } else {
      before = scores.front();
      // Each sample keeps different candidates, so gather rank r of every sample into one batch. Rule state
      // is not gathered along, so momentum restarts here.
      const at::Tensor ranks = at::cat(scores).view({k, x.size(0)}).argsort(0, /*descending=*/true);
      const at::Tensor all_noises = stacked(noises), all_states = stacked(states);
      for (int r = 0; r < kept; ++r) {
        const at::Tensor chosen = ranks.select(0, r);
        const at::Tensor end = finished(c, pick(all_states, chosen), prune);
        best.offer(pick(all_noises, chosen), scorer_(end, c.run.prompt()));
      }
    }
    c.run.report("score_before", before);
    c.run.report("score_after", best.score);
    return best.x;
  }

 private:
  static at::Tensor advance(const NoiseContext& c, at::Tensor x, int from, int to, GuidanceState* memory) {
    for (int i = from; i < to; ++i) x = denoise(c.run, c.predictor, x, i, i + 1, memory);
    return x;
  }
  static at::Tensor finished(const NoiseContext& c, const at::Tensor& x, int from) {
    const std::unique_ptr<GuidanceState> memory = c.predictor.rule->begin();
    return advance(c, x, from, c.run.schedule().steps(), memory.get());
  }
  /// Returns the x0 estimate of the state at a level.   Cost: one prediction.
  static at::Tensor preview(const NoiseContext& c, const at::Tensor& x, int at, GuidanceState* memory) {
    const at::Tensor output = c.run.predict(c.predictor, x, c.run.schedule().level(at), at, memory);
    return denoised_from(c.predictor.model->info().parameterization, c.run.schedule().level(at))(x, output);
  }
  static at::Tensor stacked(const std::vector<at::Tensor>& list) {
    std::vector<int64_t> sizes = list.front().sizes().vec();
    sizes.insert(sizes.begin(), static_cast<int64_t>(list.size()));
    return at::cat(list).view(sizes);
  }
  /// Picks row index[b] of sample b: [K,B,...] to [B,...].
  static at::Tensor pick(const at::Tensor& all, const at::Tensor& index) {
    std::vector<int64_t> sizes(static_cast<size_t>(all.dim()), 1);
    sizes[1] = all.size(1);
    std::vector<int64_t> full = all.sizes().vec();
    full.front() = 1;
    return all.gather(0, index.view(sizes).expand(full)).squeeze(0);
  }

  LatentScorer scorer_;
  RewardSelectionOptions options_;
};

}  // namespace glint
