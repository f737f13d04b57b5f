// Noise selection: picks the initial noise that best survives denoising and inversion.
#pragma once

#include <glint/noise/stability.hpp>

namespace glint {

struct StabilitySelectionOptions {
  int candidates = 8;
  int batch = 4;
  RoundTripOptions trip = {};

  static void fields(auto& visit, auto& o) {
    visit("candidates", o.candidates,
          Field{.help = "number of noises to choose from, including the run's own; 1 = off",
                .minimum = 1,
                .maximum = 100000});
    visit("batch", o.batch,
          Field{.help = "candidates evaluated at once; affects only memory and time",
                .minimum = 1,
                .maximum = 100000});
    RoundTripOptions::fields(visit, o.trip);
  }
};

/// Returns, for each sample, the one of K noises with the largest cos(x, F(x)), F a round trip of denoising
/// and inversion. Reports stability_before and stability_after. On small models this did no better than
/// chance; reward-selection does.
/// Cost:    2 min(steps, N) K guided predictions before the run; 0 for one candidate.
/// Memory:  `batch` candidates at once.
/// Source:  Qi et al., "Not All Noises Are Created Equally", arXiv:2407.14041. Deviation: matched levels.
class StabilitySelection final : public NoiseStrategy {
 public:
  using Options = StabilitySelectionOptions;
  static constexpr EntryInfo info{
      .kind = "noise",
      .name = "stability-selection",
      .summary = "picks the initial noise most stable under denoising and inversion",
      .cost = "2 min(steps, N) G candidates rows, plus the run's; none for one candidate",
      .source = "Qi et al. 2024, arXiv:2407.14041"};

  explicit StabilitySelection(StabilitySelectionOptions options = {}) : options_(options) {
    check_ranges(info.name, options_);
  }

  std::string_view name() const override { return info.name; }

  at::Tensor refine(const at::Tensor& x, const NoiseContext& context) const override {
    if (options_.candidates == 1) return x;
    const RoundTrip trip(options_.trip, context.run.schedule(), context.predictor);
    Best best;
    at::Tensor before;
    for (int first = 0; first < options_.candidates; first += options_.batch) {
      const int count = (std::min)(options_.batch, options_.candidates - first);
      std::vector<at::Tensor> group;
      for (int k = 0; k < count; ++k) group.push_back(candidate(context.run, x, info.name, first + k));
      const at::Tensor all = at::cat(group);
      const at::Tensor stability = cosine(all, trip(context.run, all, repeated(trip.predictor(), count)));
      for (int k = 0; k < count; ++k)
        best.offer(group[static_cast<size_t>(k)], stability.narrow(0, k * x.size(0), x.size(0)));
      if (first == 0) before = stability.narrow(0, 0, x.size(0));
    }
    context.run.report("stability_before", before);
    context.run.report("stability_after", best.score);
    return best.x;
  }

  void validate(const NoiseSchedule& schedule, const Predictor& predictor) const override {
    check_predictor("stability-selection: ", RoundTrip(options_.trip, schedule, predictor).predictor(),
                    schedule.steps());
  }

 private:
  StabilitySelectionOptions options_;
};

}  // namespace glint
