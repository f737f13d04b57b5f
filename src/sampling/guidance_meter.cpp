#include <glint/core/error.hpp>
#include <glint/guidance/cfg.hpp>
#include <glint/guidance/per_sample.hpp>
#include <glint/sampling/guidance_meter.hpp>

#include <cmath>
#include <limits>

namespace glint {
namespace {

/// The mean of all non-NaN values; NaN if there are none.
class Mean {
 public:
  void add(double value) {
    if (std::isnan(value)) return;
    sum_ += value;
    ++count_;
  }
  double value() const { return count_ > 0 ? sum_ / count_ : std::numeric_limits<double>::quiet_NaN(); }

 private:
  double sum_ = 0.0;
  int count_ = 0;
};

double mean_of_numbers(const std::vector<double>& values) {
  Mean mean;
  for (double value : values) mean.add(value);
  return mean.value();
}

}  // namespace

EffectiveGuidance mean_of(std::span<const EffectiveGuidance> samples) {
  GLINT_CHECK(!samples.empty(), InvalidArgument, "samples: expected at least one, got none");
  const auto mean = [&](auto member) {
    Mean values;
    for (const EffectiveGuidance& sample : samples) values.add(sample.*member);
    return values.value();
  };
  const auto means = [&](auto member) {
    std::vector<double> values;
    for (size_t i = 0; i < (samples.front().*member).size(); ++i) {
      Mean at_step;
      for (const EffectiveGuidance& sample : samples) at_step.add((sample.*member)[i]);
      values.push_back(at_step.value());
    }
    return values;
  };
  return {.signed_scale = means(&EffectiveGuidance::signed_scale),
          .unsigned_scale = means(&EffectiveGuidance::unsigned_scale),
          .orthogonal = means(&EffectiveGuidance::orthogonal),
          .mean_signed_scale = mean(&EffectiveGuidance::mean_signed_scale),
          .mean_unsigned_scale = mean(&EffectiveGuidance::mean_unsigned_scale),
          .mean_orthogonal = mean(&EffectiveGuidance::mean_orthogonal)};
}

GuidanceMeter::GuidanceMeter(const Predictor& predictor) {
  predictors_.fill(predictor);
  for (Predictor& side : predictors_) side.filters.clear();
  predictors_[0].rule = std::make_shared<const Cfg>(1.0);
  predictors_[1].rule = std::make_shared<const Cfg>(0.0);
}

void GuidanceMeter::measure(Run& run, const at::Tensor& x, const at::Tensor& next, int step) {
  const Run::Stage stage(run, "effective-guidance", step);
  const NoiseSchedule& schedule = run.schedule();
  const Affine taken = move_coefficients(predictors_[0].model->info().parameterization, schedule.level(step),
                                         schedule.landing(step));
  const std::vector<Prediction> outputs = run.predict(predictors_, x, schedule.level(step), step);
  const at::Tensor &cond = outputs[0].output, &uncond = outputs[1].output;
  const at::Tensor implied = next.sub(x, taken.of_x).div_(taken.of_output).to(at::kDouble);
  const at::Tensor difference = cond.sub(uncond), delta = implied.sub_(uncond);
  const at::Tensor squared = per_sample::dot(difference, difference);
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor along = per_sample::ratio(per_sample::dot(delta, difference), squared, unknown, 1e-12);
  const at::Tensor rest = delta.sub(per_sample::scaled(difference.to(at::kDouble), along));
  // Keep on the device until the run ends, to avoid synchronising inside the loop.
  along_.push_back(along);
  orthogonal_.push_back(per_sample::ratio(per_sample::dot(rest, rest), squared, unknown, 1e-12).sqrt());
}

std::vector<EffectiveGuidance> GuidanceMeter::result() const {
  std::vector<EffectiveGuidance> samples(static_cast<size_t>(along_.front().size(0)));
  for (size_t i = 0; i < along_.size(); ++i) {
    const at::Tensor along = along_[i].cpu(), orthogonal = orthogonal_[i].cpu();
    for (size_t b = 0; b < samples.size(); ++b) {
      samples[b].signed_scale.push_back(along.data_ptr<double>()[b]);
      samples[b].unsigned_scale.push_back(std::abs(along.data_ptr<double>()[b]));
      samples[b].orthogonal.push_back(orthogonal.data_ptr<double>()[b]);
    }
  }
  for (EffectiveGuidance& sample : samples) {
    sample.mean_signed_scale = mean_of_numbers(sample.signed_scale);
    sample.mean_unsigned_scale = mean_of_numbers(sample.unsigned_scale);
    sample.mean_orthogonal = mean_of_numbers(sample.orthogonal);
  }
  return samples;
}

}  // namespace glint
