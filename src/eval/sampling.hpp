// Samples the arms of an evaluation with a pipeline, and scores the pictures.
#pragma once

#include "eval/units.hpp"

#include <glint/catalog/components.hpp>
#include <glint/pipeline/pipeline.hpp>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace glint::detail {

class PipelineSampler final : public ArmSampler {
 public:
  /// Errors:  NotFound for a scorer or decoder the bundle lacks; InvalidArgument for a video model.
  PipelineSampler(const Pipeline& pipeline, const EvalRequest& request);

  ArmSettings settings(const Arm& arm) const override;
  UnitResult sample(const Arm& arm, int64_t first, int64_t size, bool measure) override;
  bool measures() const override { return pipeline_.bundle().manifest().guidance.uncond_branch; }
  std::string scorer_identity(const std::string& scorer) const override;

  const std::set<std::string>& unknown_words() const { return unknown_; }

 private:
  const Plan& plan_of(const Arm& arm) const;
  Prompt prompts_of(const Plan& plan, int64_t first, int64_t size);
  std::vector<Image> decoded(const Plan& plan, const at::Tensor& latents) const;
  at::Tensor scored(const std::string& scorer, const std::vector<Image>& images, const Prompt& prompt) const;
  SampleResult drawn(const Plan& plan, const Prompt& prompt, int64_t first, int64_t size, int candidate,
                     bool measure) const;
  void keep_pictures(const Arm& arm, int64_t first, const std::vector<Image>& images) const;

  const Pipeline& pipeline_;
  const EvalRequest& request_;
  std::map<std::string, PictureScorer> scorers_;
  mutable std::map<std::string, Plan> plans_;  // by arm; a plan is small
  std::set<std::string> unknown_;
};

/// Returns the file of a pair's picture inside an evaluation's folder.
std::filesystem::path picture_path(const Arm& arm, int64_t pair);

}  // namespace glint::detail
