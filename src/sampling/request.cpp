#include <glint/sampling/request.hpp>

#include <iterator>

namespace glint {
double SampleResult::nfe() const {
  return latents.defined() ? static_cast<double>(usage.rows) / static_cast<double>(latents.size(0)) : 0.0;
}

void SampleResult::append(SampleResult&& batch) {
  steps = batch.steps;
  latents = latents.defined() ? at::cat({latents, batch.latents}) : batch.latents;
  if (trajectory.empty()) {
    trajectory = std::move(batch.trajectory);
  } else {
    for (size_t i = 0; i < trajectory.size(); ++i)
      trajectory[i] = at::cat({trajectory[i], batch.trajectory[i]});
  }
  for (const auto& [stage, figures] : batch.reports)
    for (const auto& [name, values] : figures) {
      auto& list = reports[stage][name];
      list.insert(list.end(), values.begin(), values.end());
    }
  std::move(batch.effective_guidance.begin(), batch.effective_guidance.end(),
            std::back_inserter(effective_guidance));
  usage += batch.usage;
  for (const auto& [stage, used] : batch.by_stage) by_stage[stage] += used;
}

}  // namespace glint
