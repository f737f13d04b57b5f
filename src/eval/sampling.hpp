// Samples the arms of an evaluation with a pipeline, and scores the pictures.
#pragma once

#include "eval/units.hpp"

#include <glint/catalog/scorer.hpp>
#include <glint/pipeline/pipeline.hpp>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace glint::detail {

class PipelineSampler final : public ArmSampler {
 public:
  /// `scorers` are the request's, opened. Both are borrowed.
  /// Errors:  NotFound if the bundle has no decoder; InvalidArgument for a video model; those of a scorer
  ///          that does not fit pictures and prompts of this model.
  PipelineSampler(const Pipeline& pipeline, const EvalRequest& request, const std::vector<Scorer>& scorers);

  ArmSettings settings(const Arm& arm) const override;
  UnitResult sample(const Arm& arm, int64_t first, int64_t size, bool measure) override;
  bool measures() const override { return pipeline_.bundle().manifest().guidance.uncond_branch; }
  std::string scorer_identity(const std::string& scorer) const override;

  const std::set<std::string>& unknown_words() const { return unknown_; }

 private:
  const Plan& plan_of(const Arm& arm) const;
  Prompt prompts_of(const Plan& plan, int64_t first, int64_t size);
  std::vector<Image> decoded(const Plan& plan, const at::Tensor& latents) const;
  const Scorer* scorer(const std::string& name) const;
  void check_scorers();
  at::Tensor scored(const std::string& scorer, const std::vector<Image>& images, const Prompt& prompt,
                    int64_t first) const;
  SampleResult drawn(const Plan& plan, const Prompt& prompt, int64_t first, int64_t size, int candidate,
                     bool measure) const;
  void keep_pictures(const Arm& arm, int64_t first, const std::vector<Image>& images) const;

  const Pipeline& pipeline_;
  const EvalRequest& request_;
  const std::vector<Scorer>& scorers_;
  mutable std::map<std::string, Plan> plans_;  // by arm; a plan is small
  std::set<std::string> unknown_;
};

/// Returns the file of a pair's picture inside an evaluation's folder.
std::filesystem::path picture_path(const Arm& arm, int64_t pair);

}  // namespace glint::detail
